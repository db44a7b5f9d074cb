"""The linear part of a potential, solved by weighted least squares.

With the radial functions fixed, energies and forces are linear in the coefficients of the first density,
so the minimum of the engine's loss over them is the solution of the normal equations

    (Σ w_E e eᵀ + Σ w_F f fᵀ + λ diag) c = Σ w_E e E/n + Σ w_F f F

where e is a structure's projections per atom and f a row per force component, with the weights of the
engine's loss. They are summed structure by structure: memory is the number of functions squared.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from mlip_train.ace.normal_equations import LabelledStructure, NormalEquations, weighted_rows, with_first_density
from mlip_train.ace.projections import BBasisFile, Projector
from mlip_train.base.files import atomic_path
from mlip_train.base.parallel import CHUNK, over_chunks
from mlip_train.errors import TrainingFailedError
from mlip_train.records.fit import LinearSolution

__all__ = ["solve_linear_start"]

FOLDS: Final = 5
_PATIENCE: Final = 1.02  # most that the loss of a ridge may exceed the smallest: small coefficients are worth it
RIDGES: Final = tuple(10.0**exponent for exponent in range(-14, -3))  # relative to the diagonal


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
    n_functions = with_first_density(bbasis, 0.0, target)  # workers project with it: only other densities are left
    n_structures, energy, forces = _accumulate(target, structures, n_functions, on_progress)
    shares = [_weighted(e, f, kappa) for e, f in zip(energy, forces, strict=True)]
    total = _sum(shares)
    if total.labels == 0.0 or not total.is_finite():
        raise TrainingFailedError(
            f"the linear start of {n_functions} functions has no finite solution: all labels are zero, or a "
            "label or projection is not finite. Check the newest structures, or set max_epochs above 0 and start "
            "from zeros"
        )
    ridge = _best_ridge(shares, total)
    (solution,) = total.solutions([ridge])
    if curvature is not None:
        with atomic_path(curvature) as temporary, temporary.open("wb") as stream:
            np.save(stream, total.gram)
    with_first_density(target, solution, target)
    return LinearSolution(
        n_structures=n_structures,
        n_functions=len(solution),
        ridge=ridge,
        loss=total.loss(solution),
        energy_rmse=_sum(energy).loss(solution) ** 0.5,
        force_rmse=(_sum(forces).loss(solution) / 3) ** 0.5,
        seconds=time.monotonic() - began,
    )


def _accumulate(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    n_functions: int,
    on_progress: Callable[[int], None],
) -> tuple[int, list[NormalEquations], list[NormalEquations]]:
    """Number of structures, and energy and force equations of each fold."""
    energy = [NormalEquations(n_functions) for _ in range(FOLDS)]
    forces = [NormalEquations(n_functions) for _ in range(FOLDS)]
    done = 0
    for fold, count, e, f in over_chunks(_equations_of, BBasisFile.of(bbasis), _chunks_by_fold(structures)):
        energy[fold] += e
        forces[fold] += f
        done += count
        on_progress(done)
    if done == 0:
        raise TrainingFailedError("there is not one structure to solve the linear start from")
    return done, energy, forces


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


def _equations_of(
    projector: Projector, chunk: list[LabelledStructure]
) -> tuple[int, int, NormalEquations, NormalEquations]:
    n_functions = sum(projector.n_functions.values())
    energy, forces = NormalEquations(n_functions), NormalEquations(n_functions)
    energy_rows, energy_labels = [], []
    for labelled in chunk:
        rows = weighted_rows(projector, labelled)
        energy_rows.append(rows.energy)
        energy_labels.append(rows.energy_label)
        forces.add(rows.forces, rows.force_labels)
    energy.add(np.array(energy_rows), np.array(energy_labels))
    return _fold(chunk[0]), len(chunk), energy, forces


def _weighted(energy: NormalEquations, forces: NormalEquations, kappa: float) -> NormalEquations:
    joint = NormalEquations(energy.n)
    joint.gram = (1 - kappa) * energy.gram + kappa * forces.gram
    joint.moment = (1 - kappa) * energy.moment + kappa * forces.moment
    joint.labels = (1 - kappa) * energy.labels + kappa * forces.labels
    return joint


def _sum(equations: list[NormalEquations]) -> NormalEquations:
    total = NormalEquations(equations[0].n)
    for part in equations:
        total += part
    return total


def _best_ridge(folds: list[NormalEquations], total: NormalEquations) -> float:
    """The largest ridge whose loss on structures that were left out is about the smallest."""
    filled = [fold for fold in folds if fold.labels > 0.0]
    if len(filled) < 2:
        return 1e-8  # nothing to validate on
    losses = np.zeros(len(RIDGES))
    for fold in filled:
        losses += [fold.loss(solution) for solution in (total - fold).solutions(RIDGES)]
    return RIDGES[int(np.flatnonzero(losses <= _PATIENCE * losses.min())[-1])]
