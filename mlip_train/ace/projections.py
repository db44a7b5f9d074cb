"""B-basis projections of structures: what the linear start is solved from and the active set chosen by.

One atom's energy is a function of the densities ρ = Σ c B, linear in them for the first density. `B`, a
row per atom, depends on the surroundings and the radial functions only, not on the coefficients c.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.library import ACEBBasisSet, ACEBEvaluator, ACECalculator, aseatoms_to_atomicenvironment
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray

__all__ = ["BBasisFile", "Design", "Projector"]


@dataclass(frozen=True)
class Design:
    """What each B-basis function contributes to a structure's energy and forces.

    With coefficients c of the first density, E = energy @ c + fixed_energy and
    F = forces @ c + fixed_forces, where the fixed parts come from the other densities.
    """

    energy: FloatArray  # (functions,), eV per unit coefficient, total
    forces: FloatArray  # (3 n, functions), eV/Å per unit coefficient
    fixed_energy: float  # eV
    fixed_forces: FloatArray  # (3 n,), eV/Å


class Projector:
    """Projects structures on the functions of a B-basis file.

    Functions are numbered element after element, as `ACEBBasisSet.basis_coeffs` holds them.
    """

    def __init__(self, bbasis: Path) -> None:
        self._basis = ACEBBasisSet(load_bbasis(bbasis))
        self._evaluator = ACEBEvaluator(self._basis)  # the calculator keeps no reference to it
        self._calculator = ACECalculator(self._evaluator)
        self.elements: tuple[str, ...] = tuple(map(str, self._basis.elements_name))
        counts = [
            len(one) + len(more) for one, more in zip(self._basis.basis_rank1, self._basis.basis, strict=True)
        ]
        self.n_functions: dict[str, int] = dict(zip(self.elements, counts, strict=True))
        self._offsets = dict(zip(self.elements, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))

    def project(self, structure: Structure) -> dict[str, FloatArray]:
        """Rows per element, in the order of the atoms: (atoms of the element, its functions)."""
        rows = self._compute(structure, gradients=False)
        symbols = np.array(structure.symbols)
        return {
            element: np.array([rows[i] for i in np.flatnonzero(symbols == element)]).reshape(-1, count)
            for element, count in self.n_functions.items()
        }

    def design(self, structure: Structure) -> Design:
        """Contributions of all functions to the structure's energy and forces."""
        rows = self._compute(structure, gradients=True)
        energy = np.zeros(sum(self.n_functions.values()))
        for symbol, row in zip(structure.symbols, rows, strict=True):
            start = self._offsets[symbol]
            energy[start : start + len(row)] += row
        gradients = np.array(self._calculator.forces_bfuncs)  # (n, functions, 3)
        return Design(
            energy=energy,
            forces=gradients.transpose(0, 2, 1).reshape(-1, len(energy)),
            fixed_energy=float(self._calculator.energy),
            fixed_forces=np.array(self._calculator.forces).reshape(-1),
        )

    def energy(self, structure: Structure) -> float:
        """Energy (eV) by the B-basis itself, all densities included."""
        self._compute(structure, gradients=False)
        return float(self._calculator.energy)

    def _compute(self, structure: Structure, *, gradients: bool) -> list[FloatArray]:
        environment = aseatoms_to_atomicenvironment(
            structure.to_atoms(),
            cutoff=self._basis.cutoffmax,
            elements_mapper_dict=self._basis.elements_to_index_map,
        )
        self._calculator.compute(environment, compute_projections=True, compute_b_grad=gradients)
        return [np.array(row, dtype=float).reshape(-1) for row in self._calculator.projections]


@dataclass(frozen=True)
class BBasisFile:
    """A B-basis file to project on; what it holds is known by when it was written."""

    path: Path
    written: int  # ns

    @classmethod
    def of(cls, path: Path) -> BBasisFile:
        """Name a B-basis as it is now."""
        return cls(path, path.stat().st_mtime_ns)

    def make(self) -> Projector:
        """Load the projector of this file."""
        return Projector(self.path)
