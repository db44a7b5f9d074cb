"""The normal equations of weighted least squares, summed structure by structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.library import ACEBBasisSet
from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.files import atomic_path

__all__ = ["LabelledStructure", "NormalEquations", "WeightedRows", "weighted_rows", "with_first_density"]


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with what the fit sees of it."""

    structure: Structure
    energy: float  # eV, total, minus the reference energies
    energy_weight: float  # share of the energy loss
    force_weights: FloatArray  # (n,), share of the force loss per atom


@dataclass
class NormalEquations:
    """Normal equations of some structures, of the weighted loss."""

    n: int
    gram: FloatArray = field(init=False)  # (functions, functions)
    moment: FloatArray = field(init=False)  # (functions,)
    labels: float = 0.0  # Σ w label²

    def __post_init__(self) -> None:
        self.gram, self.moment = np.zeros((self.n, self.n)), np.zeros(self.n)

    def add(self, rows: FloatArray, labels: FloatArray) -> None:
        """Add rows (n, functions) and their labels (n,), both times the roots of their weights."""
        self.gram += rows.T @ rows
        self.moment += rows.T @ labels
        self.labels += float(labels @ labels)

    def add_times(self, n: int, other: NormalEquations) -> None:
        """Add other equations, n times."""
        self.gram += n * other.gram
        self.moment += n * other.moment
        self.labels += n * other.labels

    def __iadd__(self, other: NormalEquations) -> NormalEquations:
        self.add_times(1, other)
        return self

    def __sub__(self, other: NormalEquations) -> NormalEquations:
        difference = NormalEquations(self.n)
        difference.gram = self.gram - other.gram
        difference.moment = self.moment - other.moment
        difference.labels = self.labels - other.labels
        return difference

    def is_finite(self) -> bool:
        """Whether they have a solution."""
        return bool(np.isfinite(self.gram).all() and np.isfinite(self.moment).all() and np.isfinite(self.labels))

    def loss(self, coefficients: FloatArray) -> float:
        """Weighted sum of squared differences to the labels."""
        residual = coefficients @ (self.gram @ coefficients) - 2 * self.moment @ coefficients + self.labels
        return max(float(residual), 1e-14 * self.labels)  # below that it is rounding of the terms

    def solutions(self, ridges: Iterable[float]) -> Iterator[FloatArray]:
        """The minimum for each ridge, in coordinates in which every function has the same size."""
        scale = np.sqrt(np.diag(self.gram))
        scale[scale == 0] = 1.0  # a function that no structure feels keeps the coefficient 0
        eigenvalues, vectors = np.linalg.eigh(self.gram / np.outer(scale, scale))
        projected = vectors.T @ (self.moment / scale)
        for ridge in ridges:
            yield (vectors @ (projected / (np.maximum(eigenvalues, 0.0) + ridge))) / scale


class WeightedRows(NamedTuple):
    """What a structure adds to the normal equations: rows and labels, times the roots of their weights."""

    energy: FloatArray  # (functions,)
    energy_label: float
    forces: FloatArray  # (3 n, functions)
    force_labels: FloatArray  # (3 n,)


def weighted_rows(projector: Projector, labelled: LabelledStructure) -> WeightedRows:
    """Project a structure; what other densities than the first contribute is taken off its labels."""
    structure, design = labelled.structure, projector.design(labelled.structure)
    weight = labelled.energy_weight**0.5 / len(structure.numbers)
    weights = np.repeat(np.sqrt(labelled.force_weights), 3)
    residual = structure.forces.reshape(-1) - design.fixed_forces
    return WeightedRows(
        energy=weight * design.energy,
        energy_label=weight * (labelled.energy - design.fixed_energy),
        forces=weights[:, None] * design.forces,
        force_labels=weights * residual,
    )


def with_first_density(bbasis: Path, coefficients: FloatArray | float, target: Path) -> int:
    """Write a B-basis with these coefficients of its first density; return the number of functions.

    Radial functions and other densities stay as they are.
    """
    configuration = load_bbasis(bbasis)
    basis = ACEBBasisSet(configuration)
    by_density = _coefficients_by_density(basis)
    by_density[:, 0] = coefficients
    basis.basis_coeffs = by_density.reshape(-1).tolist()
    written = basis.to_BBasisConfiguration()
    for key, value in configuration.metadata.items():
        written.metadata[key] = value
    with atomic_path(target) as temporary:
        written.save(str(temporary))
    return len(by_density)


def _coefficients_by_density(basis: Any) -> FloatArray:
    """(functions, densities), element after element."""
    n_functions = sum(map(len, basis.basis_rank1)) + sum(map(len, basis.basis))
    return np.array(basis.basis_coeffs, dtype=np.float64).reshape(n_functions, -1)
