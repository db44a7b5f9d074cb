"""The linear part of a potential, solved by weighted least squares.

With the radial functions fixed, energies, forces and virials are linear in the coefficients of the first density,
so the minimum of the loss over them is the solution of the normal equations

    (Σ w_E e eᵀ + Σ w_F f fᵀ + Σ w_S s sᵀ + λ diag) c = Σ w_E e E/n + Σ w_F f F + Σ w_S s W/n

where e is a structure's projections per atom, f a row per force component and s one per virial component per atom,
with the weights of the engine's loss, which knows no stress. They are summed structure by structure: memory is
the number of functions squared.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from mlip_train.ace.bbasis import with_first_density
from mlip_train.ace.cross_validation import most_stress, validate
from mlip_train.ace.normal_equations import LabelledStructure, RowSum, Shares, Terms, sum_of, weighted_rows
from mlip_train.ace.projections import BBasisFile, Projector
from mlip_train.base.files import atomic_path
from mlip_train.base.parallel import made, sum_over_chunks
from mlip_train.errors import TrainingFailedError
from mlip_train.records.fit import LinearSolution

__all__ = ["FOLDS", "solve_linear_start"]

FOLDS: Final = 5
# Structures whose equations come back as one sum: at first few, for small sets; then a share of those before.
_FEWEST, _MOST, _SHARE = 4, 256, 16


def solve_linear_start(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    kappa: float,
    target: Path,
    stress: float | None = None,
    curvature: Path | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> LinearSolution:
    """Solve for the first density's coefficients of a B-basis and write it with them.

    Radial functions and other densities stay as they are in `bbasis`. The ridge is the
    largest one whose loss in a five-fold cross-validation is within 0.5 % of the smallest, structures shared out
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
    stress : float, optional
        The share of stress beside that; by default the largest one with which the errors of energies and forces
        grow by no more than 3 % in the cross-validation.
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
    n_structures, lacking, folds = _accumulate(target, structures, n_functions, on_progress)
    total = sum_of(folds, n_functions)
    if not any(term.labels for term in total) or not all(term.is_finite() for term in total):
        raise TrainingFailedError(
            f"the linear start of {n_functions} functions has no finite solution: all labels are zero, or a "
            "label or projection is not finite. Check the newest structures, or set max_epochs above 0 and start "
            "from zeros"
        )
    shares = Shares(1 - kappa, kappa, stress or 0.0)
    shares, validated = most_stress(folds, shares) if stress is None else (shares, validate(folds, shares))
    joint = total.joint(shares)
    (solution,) = joint.solutions([validated.ridge])
    if curvature is not None:
        with atomic_path(curvature) as temporary, temporary.open("wb") as stream:
            # the engine, which goes on with it, knows no stress
            np.save(stream, total.joint(shares._replace(stress=0.0)).gram)
    with_first_density(target, solution, target)
    losses = [term.loss(solution) for term in total]
    return LinearSolution(
        n_structures=n_structures,
        n_functions=len(solution),
        ridge=validated.ridge,
        stress_share=shares.stress,
        loss=shares.energy * losses[0] + shares.forces * losses[1],
        energy_rmse=losses[0] ** 0.5,
        force_rmse=(losses[1] / 3) ** 0.5,
        virial_rmse=(losses[2] / 6) ** 0.5 if total.stress.labels else None,
        lacking=lacking,
        seconds=time.monotonic() - began,
    )


def _accumulate(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    n_functions: int,
    on_progress: Callable[[int], None],
) -> tuple[int, str | None, list[Terms]]:
    """Number of structures, what our own kernel lacked for them, and the equations of each fold."""
    folds = [Terms.zero(n_functions) for _ in range(FOLDS)]
    tool = BBasisFile.of(bbasis)
    done = sum_over_chunks(_terms_of, tool, _chunks_by_fold(structures), folds, on_progress)
    if done == 0:
        raise TrainingFailedError("there is not one structure to solve the linear start from")
    return done, made(tool).lacking, folds


def _chunks_by_fold(structures: Iterable[LabelledStructure]) -> Iterator[tuple[int, list[LabelledStructure]]]:
    """Structures of one fold at a time: so each needs its equations in one fold only, and folds cost nothing."""
    waiting: list[list[LabelledStructure]] = [[] for _ in range(FOLDS)]
    for seen, labelled in enumerate(structures):
        fold = _fold(labelled)
        waiting[fold].append(labelled)
        if len(waiting[fold]) >= min(max(_FEWEST, seen // _SHARE), _MOST):
            yield fold, list(waiting[fold])
            waiting[fold].clear()
    yield from ((fold, chunk) for fold, chunk in enumerate(waiting) if chunk)


def _fold(labelled: LabelledStructure) -> int:
    return int(labelled.structure.structure_id[:8], 16) % FOLDS


def _terms_of(projector: Projector, chunk: list[LabelledStructure]) -> Terms:
    sums = [RowSum(sum(projector.n_functions.values())) for _ in Terms._fields]
    with threadpool_limits(limits=1):  # the same sums to the last digit, in whichever process
        for labelled in chunk:
            for term, weighted in zip(sums, weighted_rows(projector, labelled), strict=True):
                term.add(*weighted)
        return Terms(*(term.total() for term in sums))
