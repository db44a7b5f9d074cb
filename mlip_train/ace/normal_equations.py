"""The normal equations of weighted least squares, summed structure by structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray

__all__ = ["LabelledStructure", "NormalEquations", "RowSum", "Shares", "Terms", "sum_of", "weighted_rows"]

_AT_ONCE: Final = 1024  # rows that are multiplied together: few would cost a pass over the matrix each


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with what the fit sees of it."""

    structure: Structure
    energy: float  # eV, total, minus the reference energies
    energy_weight: float  # share of the energy loss
    force_weights: FloatArray  # (n,), share of the force loss per atom
    stress_weight: float = 0.0  # share of the stress loss; 0 where it has no stress


class Shares(NamedTuple):
    """How much each kind of label counts in the loss."""

    energy: float  # per squared error per atom, eV²
    forces: float  # per squared error of a component, (eV/Å)²
    stress: float  # per squared error of a virial component per atom, eV²


@dataclass
class NormalEquations:
    """Normal equations of some structures, of the weighted loss."""

    n: int
    gram: FloatArray = field(init=False)  # (functions, functions)
    moment: FloatArray = field(init=False)  # (functions,)
    labels: float = 0.0  # Σ w label²

    def __post_init__(self) -> None:
        self.gram, self.moment = np.zeros((self.n, self.n)), np.zeros(self.n)

    def add_times(self, factor: float, other: NormalEquations) -> None:
        """Add other equations, so many times."""
        self.gram += factor * other.gram
        self.moment += factor * other.moment
        self.labels += factor * other.labels

    def __sub__(self, other: NormalEquations) -> NormalEquations:
        difference = NormalEquations(0)
        difference.n, difference.gram = self.n, self.gram - other.gram
        difference.moment, difference.labels = self.moment - other.moment, self.labels - other.labels
        return difference

    def is_finite(self) -> bool:
        """Whether they have a solution."""
        return bool(np.isfinite(self.gram).all() and np.isfinite(self.moment).all() and np.isfinite(self.labels))

    def loss(self, coefficients: FloatArray) -> float:
        """Weighted sum of squared differences to the labels."""
        residual = coefficients @ (self.gram @ coefficients) - 2 * self.moment @ coefficients + self.labels
        return max(float(residual), 1e-14 * self.labels)  # below that it is rounding of the terms

    def solution(self, ridge: float) -> FloatArray:
        """The minimum for one ridge, like that of `solutions`, which is exact for tiny ridges, too."""
        felt, scale, scaled = self._scaled()
        try:
            factors = cho_factor(scaled + ridge * np.eye(len(scaled)), lower=True)
        except np.linalg.LinAlgError:  # a ridge below rounding
            (solution,) = self.solutions([ridge])
            return solution
        return self._for_all(felt, cho_solve(factors, self.moment[felt] / scale) / scale)

    def solutions(self, ridges: Iterable[float]) -> Iterator[FloatArray]:
        """The minimum for each ridge, in coordinates in which every function has the same size."""
        felt, scale, scaled = self._scaled()
        eigenvalues, vectors = np.linalg.eigh(scaled)
        projected = vectors.T @ (self.moment[felt] / scale)
        for ridge in ridges:
            found = vectors @ (projected / (np.maximum(eigenvalues, 0.0) + ridge))
            yield self._for_all(felt, found / scale)

    def _scaled(self) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
        """Functions that some structure feels, their sizes, and the matrix of them where all have the size 1."""
        felt = np.flatnonzero(np.diag(self.gram))
        scale = np.sqrt(np.diag(self.gram)[felt])
        matrix = self.gram if len(felt) == self.n else self.gram[np.ix_(felt, felt)]
        return felt, scale, matrix / np.outer(scale, scale)

    def _for_all(self, felt: NDArray[np.intp], coefficients: FloatArray) -> FloatArray:
        """Give a function that no structure feels the coefficient 0."""
        solution = np.zeros(self.n)
        solution[felt] = coefficients
        return solution


class RowSum:
    """Sums rows into normal equations, many of them at a time."""

    def __init__(self, n_functions: int) -> None:
        self._equations = NormalEquations(n_functions)
        self._lower = np.zeros((n_functions, n_functions), order="F")
        self._rows: list[FloatArray] = []
        self._waiting = 0

    def add(self, rows: FloatArray, labels: FloatArray) -> None:
        """Add rows (k, functions) and their labels (k,), both times the roots of their weights."""
        if not len(rows):
            return  # of which BLAS complains
        self._equations.moment += labels @ rows
        self._equations.labels += float(labels @ labels)
        self._rows.append(rows)
        self._waiting += len(rows)
        if self._waiting >= _AT_ONCE:
            self._multiply()

    def total(self) -> NormalEquations:
        """The equations of all rows so far."""
        if self._rows:
            self._multiply()
        lower = np.tril(self._lower)
        self._equations.gram = lower + np.tril(lower, -1).T
        return self._equations

    def _multiply(self) -> None:
        rows = np.asfortranarray(np.vstack(self._rows))
        self._lower = dsyrk(1.0, rows, beta=1.0, c=self._lower, trans=1, lower=1, overwrite_c=1)
        self._rows, self._waiting = [], 0


class Terms(NamedTuple):
    """The three kinds of label of some structures, each with its own equations."""

    energy: NormalEquations
    forces: NormalEquations
    stress: NormalEquations

    @classmethod
    def zero(cls, n_functions: int) -> Terms:
        """The equations of no structure."""
        return cls(*(NormalEquations(n_functions) for _ in cls._fields))

    def add(self, others: Terms) -> None:
        """Add the equations of other structures."""
        for mine, other in zip(self, others, strict=True):
            mine.add_times(1, other)

    def joint(self, shares: Shares) -> NormalEquations:
        """The equations of the whole loss."""
        whole = NormalEquations(self.energy.n)
        for share, term in zip(shares, self, strict=True):
            if share:
                whole.add_times(share, term)
        return whole


def sum_of(terms: Iterable[Terms], n_functions: int) -> Terms:
    """The equations of all structures together."""
    total = Terms.zero(n_functions)
    for each in terms:
        total.add(each)
    return total


class _Weighted(NamedTuple):
    """Rows (k, functions) and labels (k,) of one kind, times the roots of their weights."""

    rows: FloatArray
    labels: FloatArray


def weighted_rows(projector: Projector, labelled: LabelledStructure) -> tuple[_Weighted, _Weighted, _Weighted]:
    """What a structure adds to the equations of energy, forces and stress (of that none, where it has none).

    What other densities than the first contribute is taken off the labels. Energies and virials count per atom.
    """
    structure, design = labelled.structure, projector.design(labelled.structure)
    per_atom = 1 / len(structure.numbers)
    weight = per_atom * labelled.energy_weight**0.5
    weights = np.repeat(np.sqrt(labelled.force_weights), 3)
    energy = _Weighted(
        weight * design.energy[None, :], np.array([weight * (labelled.energy - design.fixed.energy)])
    )
    residual = structure.forces.reshape(-1) - design.fixed.forces
    forces = _Weighted(weights[:, None] * design.forces, weights * residual)
    volume = structure.volume_per_atom
    if structure.stress is None or volume is None or not labelled.stress_weight:
        return energy, forces, _Weighted(design.virial[:0], np.empty(0))
    weight = per_atom * labelled.stress_weight**0.5
    virial = structure.stress * volume * len(structure.numbers)
    return energy, forces, _Weighted(weight * design.virial, weight * (virial - design.fixed.virial))
