"""The linear part of a potential, solved by weighted least squares.

With the radial functions fixed, energies and forces are linear in the coefficients of the first density,
so the minimum of the engine's loss over them is the solution of the normal equations

    (Σ w_E e eᵀ + Σ w_F f fᵀ + λ diag) c = Σ w_E e E/n + Σ w_F f F

where e is a structure's projections per atom and f a row per force component, with the weights of the
engine's loss. They are summed structure by structure: memory is the number of functions squared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlip_train.errors import TrainingFailedError
from mlip_train.files import atomic_path
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import load_bbasis
from mlip_train.pacemaker.library import ACEBBasisSet
from mlip_train.pacemaker.metrics import write_metrics
from mlip_train.pacemaker.projections import CHUNK, Projector, over_chunks
from mlip_train.structures import Structure

__all__ = [
    "LabelledStructure",
    "LinearSolution",
    "solve_linear_start",
    "write_linear_metrics",
    "write_predictions",
]

FloatArray = NDArray[np.float64]

FOLDS: Final = 5
_PATIENCE: Final = 1.02  # most that the loss of a ridge may exceed the smallest: small coefficients are worth it
RIDGES: Final = tuple(10.0**exponent for exponent in range(-14, -3))  # relative to the diagonal


class LinearSolution(FrozenModel):
    """How good a linear solution is on the structures it was solved from."""

    n_functions: int
    ridge: float  # relative to the diagonal of the normal equations
    loss: float
    energy_rmse: float  # eV/atom
    force_rmse: float  # eV/Å, over components
    seconds: float

    def __str__(self) -> str:
        return (
            f"Linear solution of {self.n_functions} functions in {self.seconds:.0f} s: loss {self.loss:.4g}, RMSE "
            f"{1e3 * self.energy_rmse:.2f} meV/atom, {1e3 * self.force_rmse:.0f} meV/Å (ridge {self.ridge:.0e})"
        )


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with what the fit sees of it."""

    structure: Structure
    energy: float  # eV, total, minus the reference energies
    energy_weight: float  # share of the energy loss
    force_weights: FloatArray  # (n,), share of the force loss per atom


@dataclass
class _Equations:
    """Normal equations of some structures, of the weighted loss."""

    n: int
    gram: FloatArray = field(init=False)  # (functions, functions)
    moment: FloatArray = field(init=False)  # (functions,)
    labels: float = 0.0  # Σ w label²

    def __post_init__(self) -> None:
        self.gram, self.moment = np.zeros((self.n, self.n)), np.zeros(self.n)

    def add(self, rows: FloatArray, labels: FloatArray) -> None:
        self.gram += rows.T @ rows
        self.moment += rows.T @ labels
        self.labels += float(labels @ labels)

    def __iadd__(self, other: _Equations) -> _Equations:
        self.gram += other.gram
        self.moment += other.moment
        self.labels += other.labels
        return self

    def __sub__(self, other: _Equations) -> _Equations:
        difference = _Equations(self.n)
        difference.gram = self.gram - other.gram
        difference.moment = self.moment - other.moment
        difference.labels = self.labels - other.labels
        return difference

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.gram).all() and np.isfinite(self.moment).all() and np.isfinite(self.labels))

    def loss(self, coefficients: FloatArray) -> float:
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


def solve_linear_start(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    kappa: float,
    target: Path,
    curvature: Path | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> LinearSolution:
    """Solve for the first density's coefficients of a B-basis and write it with them.

    Radial functions and other densities stay as they are in `bbasis`. The ridge is the
    largest one whose loss in a five-fold cross-validation is within 2 % of the smallest, structures shared out
    by their content hash.

    Parameters
    ----------
    bbasis : Path
        B-basis (.yaml); the coefficients of its first density are ignored.
    structures : iterable of LabelledStructure
        Streamed once. The weights are those of the engine's loss, each kind summing to 1.
    kappa : float
        The force share of the loss, between 0 and 1.
    target : Path
        Where to write the solved B-basis.
    curvature : Path, optional
        Where to write the gram matrix of the loss (.npy; functions, functions) when a fit goes on from the
        solution.
    on_progress : callable
        Called with the number of structures done.

    Raises
    ------
    TrainingFailedError
        When there is not one structure, or the solution is not finite.
    """
    began = time.monotonic()
    configuration = load_bbasis(bbasis)
    basis = ACEBBasisSet(configuration)
    coefficients = _coefficients_by_density(basis)
    coefficients[:, 0] = 0.0
    basis.basis_coeffs = coefficients.reshape(-1).tolist()
    with atomic_path(target) as temporary:  # workers project with it: only other densities are left
        basis.to_BBasisConfiguration().save(str(temporary))
    energy, forces = _accumulate(target, structures, len(coefficients), on_progress)
    shares = [_weighted(e, f, kappa) for e, f in zip(energy, forces, strict=True)]
    total = _sum(shares)
    if total.labels == 0.0 or not total.is_finite():
        raise TrainingFailedError(
            f"the linear start of {len(coefficients)} functions has no finite solution: all labels are zero, or a "
            "label or projection is not finite. Check the newest structures, or set max_epochs above 0 and start "
            "from zeros"
        )
    ridge = _best_ridge(shares, total)
    (solution,) = total.solutions([ridge])
    if curvature is not None:
        with atomic_path(curvature) as temporary, temporary.open("wb") as stream:
            np.save(stream, total.gram)
    coefficients[:, 0] = solution
    basis.basis_coeffs = coefficients.reshape(-1).tolist()
    solved = basis.to_BBasisConfiguration()
    for key, value in configuration.metadata.items():
        solved.metadata[key] = value
    with atomic_path(target) as temporary:
        solved.save(str(temporary))
    return LinearSolution(
        n_functions=len(solution),
        ridge=ridge,
        loss=total.loss(solution),
        energy_rmse=_sum(energy).loss(solution) ** 0.5,
        force_rmse=(_sum(forces).loss(solution) / 3) ** 0.5,
        seconds=time.monotonic() - began,
    )


def _coefficients_by_density(basis: Any) -> FloatArray:
    """(functions, densities), element after element."""
    n_functions = sum(map(len, basis.basis_rank1)) + sum(map(len, basis.basis))
    return np.array(basis.basis_coeffs, dtype=np.float64).reshape(n_functions, -1)


def _accumulate(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    n_functions: int,
    on_progress: Callable[[int], None],
) -> tuple[list[_Equations], list[_Equations]]:
    """Energy and force equations of each fold."""
    energy = [_Equations(n_functions) for _ in range(FOLDS)]
    forces = [_Equations(n_functions) for _ in range(FOLDS)]
    done = 0
    for fold, count, e, f in over_chunks(_equations_of, bbasis, _chunks_by_fold(structures)):
        energy[fold] += e
        forces[fold] += f
        done += count
        on_progress(done)
    if done == 0:
        raise TrainingFailedError("there is not one structure to solve the linear start from")
    return energy, forces


def _chunks_by_fold(structures: Iterable[LabelledStructure]) -> Iterator[list[LabelledStructure]]:
    waiting: list[list[LabelledStructure]] = [[] for _ in range(FOLDS)]
    for labelled in structures:
        chunk = waiting[_fold(labelled)]
        chunk.append(labelled)
        if len(chunk) == CHUNK:
            yield list(chunk)
            chunk.clear()
    yield from (chunk for chunk in waiting if chunk)


def _fold(labelled: LabelledStructure) -> int:
    return int(labelled.structure.structure_id[:8], 16) % FOLDS


def _equations_of(projector: Projector, chunk: list[LabelledStructure]) -> tuple[int, int, _Equations, _Equations]:
    n_functions = sum(projector.n_functions.values())
    energy, forces = _Equations(n_functions), _Equations(n_functions)
    energy_rows, energy_labels = [], []
    for labelled in chunk:
        structure, design = labelled.structure, projector.design(labelled.structure)
        n = len(structure.numbers)
        weight = labelled.energy_weight**0.5 / n
        energy_rows.append(weight * design.energy)
        energy_labels.append(weight * (labelled.energy - design.fixed_energy))
        weights = np.repeat(np.sqrt(labelled.force_weights), 3)
        residual = structure.forces.reshape(-1) - design.fixed_forces
        forces.add(weights[:, None] * design.forces, weights * residual)
    energy.add(np.array(energy_rows), np.array(energy_labels))
    return _fold(chunk[0]), len(chunk), energy, forces


def _weighted(energy: _Equations, forces: _Equations, kappa: float) -> _Equations:
    joint = _Equations(energy.n)
    joint.gram = (1 - kappa) * energy.gram + kappa * forces.gram
    joint.moment = (1 - kappa) * energy.moment + kappa * forces.moment
    joint.labels = (1 - kappa) * energy.labels + kappa * forces.labels
    return joint


def _sum(equations: list[_Equations]) -> _Equations:
    total = _Equations(equations[0].n)
    for part in equations:
        total += part
    return total


def _best_ridge(folds: list[_Equations], total: _Equations) -> float:
    """The largest ridge whose loss on structures that were left out is about the smallest."""
    filled = [fold for fold in folds if fold.labels > 0.0]
    if len(filled) < 2:
        return 1e-8  # nothing to validate on
    losses = np.zeros(len(RIDGES))
    for fold in filled:
        losses += [fold.loss(solution) for solution in (total - fold).solutions(RIDGES)]
    return RIDGES[int(np.flatnonzero(losses <= _PATIENCE * losses.min())[-1])]


def write_linear_metrics(run: GenerationDirectory, solution: LinearSolution) -> None:
    """Write a metrics.txt of one row, in the engine's columns."""
    row = {
        "ladder_step": 0,
        "cycle_step": 0,
        "iter_num": 0,
        "loss": solution.loss,
        "rmse_epa": solution.energy_rmse,
        "rmse_f_comp": solution.force_rmse,
        "nfuncs": solution.n_functions,
    }
    write_metrics(run.metrics, [row])
    write_metrics(run.test_metrics, [])


def write_predictions(run: GenerationDirectory, structures: Iterable[Structure]) -> None:
    """Write what the fitted B-basis predicts for structures, as the engine writes its predictions."""
    projector = Projector(run.fitted_potential)
    rows = [{"name": s.structure_id, "energy_pred": projector.energy(s)} for s in structures]
    with atomic_path(run.train_predictions) as temporary:
        pd.DataFrame(rows).to_pickle(temporary, compression="gzip", protocol=4)
