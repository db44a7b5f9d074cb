"""Two ways to the projections of a structure: our own loops, and the engine's evaluator for what they lack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from mlip_train.ace.function_arrays import functions_of, radial_tables_of
from mlip_train.ace.kernel import Neighbours, compiled, workspace
from mlip_train.ace.library import ACEBEvaluator, ACECalculator, aseatoms_to_atomicenvironment
from mlip_train.atoms.neighbours import neighbours
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.errors import EngineError

__all__ = ["CompiledEvaluator", "EngineEvaluator", "Evaluator", "Predicted", "Rows", "lacking"]

_STRAIN: Final = 1e-5  # of central differences
_VOIGT: Final = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Rows(NamedTuple):
    """What each function contributes to a structure, per unit coefficient."""

    energy: FloatArray  # (functions,), eV
    forces: FloatArray  # (3 n, functions), eV/Å
    virial: FloatArray  # (6, functions), dE/dε in eV


class Predicted(NamedTuple):
    """What a B-basis predicts, with all its densities."""

    energy: float  # eV
    forces: FloatArray  # (3 n,), eV/Å
    virial: FloatArray  # (6,), dE/dε in eV


class Evaluator(Protocol):
    """Computes projections of structures on the functions of a basis."""

    def projections(self, structure: Structure) -> list[FloatArray]:
        """Of each species, its atoms' projections (atoms, functions of the species)."""
        ...

    def rows(self, structure: Structure) -> Rows:
        """Contributions of all functions, species after species."""
        ...


def lacking(basis: Any) -> str | None:
    """What of an `ACEBBasisSet` `CompiledEvaluator` does not know; None where it knows everything."""
    radial = basis.radial_functions
    if np.any(np.array(radial.prehc)) or np.any(np.array(radial.inner_cutoff_type) == "zbl"):
        return "a core repulsion"
    return None


class CompiledEvaluator:
    """Our own loops, as machine code."""

    def __init__(self, basis: Any) -> None:
        n = int(basis.nelements)
        self._index = {str(symbol): int(at) for symbol, at in dict(basis.elements_to_index_map).items()}
        self._cutoff = float(basis.cutoffmax)
        self._functions = [functions_of(basis, species) for species in range(n)]
        self._tables = radial_tables_of(basis)
        self._offsets = np.cumsum([0, *(len(functions.order) for functions in self._functions)])
        self._add_rows = compiled()

    def projections(self, structure: Structure) -> list[FloatArray]:
        """See `Evaluator`."""
        return self._compute(structure, gradients=False)[0]

    def rows(self, structure: Structure) -> Rows:
        """See `Evaluator`."""
        projections, rows = self._compute(structure, gradients=True)
        energy = np.concatenate([of_species.sum(axis=0) for of_species in projections])
        return Rows(energy, rows[:, :-6].T, rows[:, -6:].T)

    def _compute(self, structure: Structure, *, gradients: bool) -> tuple[list[FloatArray], FloatArray]:
        n = len(structure.numbers)
        species = np.array([self._index[symbol] for symbol in structure.symbols], dtype=np.int64)
        first, second, distances, vectors = neighbours(structure.to_atoms(), self._cutoff)
        if distances.size and distances.min() * self._tables.per_length.min() < 1.0:
            raise EngineError(
                f"{structure.source}, frame {structure.frame}: two atoms are only {distances.min():.2g} Å apart, "
                "at which the engine knows no radial functions; remove the structure"
            )
        order = np.lexsort((second, species[second], first))
        start = np.searchsorted(first[order], np.arange(n + 1)).astype(np.int64)
        around = Neighbours(species, start, second[order].astype(np.int64), np.ascontiguousarray(vectors[order]))
        most = int(np.diff(start).max())
        rows = np.zeros((int(self._offsets[-1]), 3 * n + 6 if gradients else 0))
        projections = []
        for at, functions in enumerate(self._functions):
            centres = np.flatnonzero(species == at)
            projections.append(np.zeros((len(centres), len(functions.order))))
            if len(centres):
                work = workspace(functions, self._tables, most, gradients=gradients)
                mine = rows[self._offsets[at] : self._offsets[at + 1]]
                self._add_rows(functions, self._tables, around, centres, work, gradients, projections[-1], mine)
        return projections, rows


class EngineEvaluator:
    """The engine's evaluator, some thirty times slower; the one that also knows other densities and cores."""

    def __init__(self, basis: Any) -> None:
        self._basis = basis
        self._evaluator = ACEBEvaluator(basis)  # the calculator keeps no reference to it
        self._calculator = ACECalculator(self._evaluator)
        counts = [len(one) + len(more) for one, more in zip(basis.basis_rank1, basis.basis, strict=True)]
        self._offsets = np.cumsum([0, *counts])

    def projections(self, structure: Structure) -> list[FloatArray]:
        """See `Evaluator`."""
        self._compute(structure)
        rows, symbols = list(self._calculator.projections), np.array(structure.symbols)
        return [
            np.array([rows[i] for i in np.flatnonzero(symbols == str(element))], dtype=np.float64).reshape(
                -1, width
            )
            for element, width in zip(self._basis.elements_name, np.diff(self._offsets), strict=True)
        ]

    def rows(self, structure: Structure) -> Rows:
        """See `Evaluator`; what strains change comes from differences, to some eight digits."""
        virial = [
            self._strained(structure, axes, _STRAIN) - self._strained(structure, axes, -_STRAIN) for axes in _VOIGT
        ]
        energy, forces = self.energy_and_force_rows(structure)
        return Rows(energy, forces, np.array(virial) / (2 * _STRAIN))

    def energy_and_force_rows(self, structure: Structure) -> tuple[FloatArray, FloatArray]:
        """The part of `rows` that the engine computes in one go."""
        energy = self._energy_row(structure, gradients=True)
        gradients = np.array(self._calculator.forces_bfuncs)  # (n, functions, 3)
        return energy, gradients.transpose(0, 2, 1).reshape(-1, len(energy))

    def predict(self, structure: Structure) -> Predicted:
        """Energy, forces and virial by the B-basis itself, all densities included."""
        self._compute(structure)
        virial = np.array(self._calculator.virial)[[0, 1, 2, 5, 4, 3]]  # the engine's order is xx yy zz xy xz yz
        return Predicted(float(self._calculator.energy), np.array(self._calculator.forces).reshape(-1), virial)

    def _strained(self, structure: Structure, axes: tuple[int, int], strain: float) -> FloatArray:
        """The energy row of the structure, strained symmetrically."""
        deformation = np.eye(3)
        deformation[axes] += strain / 2
        deformation[axes[::-1]] += strain / 2
        moved = replace(structure, positions=structure.positions @ deformation, cell=structure.cell @ deformation)
        return self._energy_row(moved, gradients=False)

    def _energy_row(self, structure: Structure, *, gradients: bool) -> FloatArray:
        self._compute(structure, gradients=gradients)
        energy = np.zeros(int(self._offsets[-1]))
        for symbol, row in zip(structure.symbols, self._calculator.projections, strict=True):
            first = self._offsets[self._basis.elements_to_index_map[symbol]]
            energy[first : first + len(row)] += row
        return energy

    def _compute(self, structure: Structure, *, gradients: bool = False) -> None:
        environment = aseatoms_to_atomicenvironment(
            structure.to_atoms(),
            cutoff=self._basis.cutoffmax,
            elements_mapper_dict=self._basis.elements_to_index_map,
        )
        self._calculator.compute(environment, compute_projections=True, compute_b_grad=gradients)
