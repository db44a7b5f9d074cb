"""Linear solutions of several samples of the same structures, each of which is projected only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mlip_train.ace.bbasis import with_first_density
from mlip_train.ace.linear_solution import FOLDS
from mlip_train.ace.normal_equations import LabelledStructure, NormalEquations, RowSum, Shares, weighted_rows
from mlip_train.ace.projections import BBasisFile, Projector
from mlip_train.base.parallel import in_chunks, sum_over_chunks
from mlip_train.errors import TrainingFailedError

__all__ = ["AT_ONCE", "solve_samples"]

Times = NDArray[np.int64]  # (samples,), how often a structure is in each
Drawn = tuple[LabelledStructure, Times]

AT_ONCE: Final = 2 * FOLDS  # samples; fewer equations in memory than for the solution of all structures
_CHUNK: Final = 64  # structures whose equations come back as one sum per sample


def solve_samples(
    bbasis: Path,
    structures: Iterable[LabelledStructure],
    times: Mapping[str, Times],
    shares: Shares,
    ridge: float,
    targets: Sequence[Path],
    on_progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Solve for the first density's coefficients of a B-basis on each sample and write it with them.

    A structure counts in the loss as often as it was drawn.

    Parameters
    ----------
    bbasis : Path
        B-basis (.yaml); the coefficients of its first density are ignored.
    structures : iterable of LabelledStructure
        All that were drawn from, with their weights in the loss of the fit to all; streamed once.
    times : mapping of structure_id to (samples,) int
        How often each structure is in each sample; one that is missing is in none.
    shares : Shares
        How much each kind of label counts in the loss.
    ridge : float
        Relative to the diagonal of the normal equations, see `solve_linear_start`.
    targets : sequence of Path
        Where to write the solved B-basis of each sample; at most `AT_ONCE`.
    on_progress : callable
        Called with the number of structures done.

    Raises
    ------
    TrainingFailedError
        When a solution is not finite.
    """
    n_functions = with_first_density(bbasis, 0.0, targets[0])  # workers project with it
    drawn = ((row, times[name]) for row in structures if (name := row.structure.structure_id) in times)
    chunks = ((0, chunk) for chunk in in_chunks(drawn, _CHUNK))
    total = _Samples([NormalEquations(n_functions) for _ in targets])
    work = partial(_equations_of, shares=shares)
    sum_over_chunks(work, BBasisFile.of(targets[0]), chunks, [total], on_progress)
    for equations, target in zip(total.equations, targets, strict=True):
        if not equations.is_finite():
            raise TrainingFailedError("a label or a projection is not finite; check the newest structures")
        (solution,) = equations.solutions([ridge])
        with_first_density(bbasis, solution, target)


@dataclass(frozen=True)
class _Samples:
    """The equations of the whole loss, of each sample."""

    equations: list[NormalEquations]

    def add(self, other: _Samples) -> None:
        for mine, more in zip(self.equations, other.equations, strict=True):
            mine.add_times(1, more)


def _equations_of(projector: Projector, chunk: list[Drawn], shares: Shares) -> _Samples:
    sums = [RowSum(sum(projector.n_functions.values())) for _ in chunk[0][1]]
    with threadpool_limits(limits=1):  # the same sums to the last digit, in whichever process
        for labelled, times in chunk:
            weighted = weighted_rows(projector, labelled)
            roots = [share**0.5 for share in shares]
            rows = np.vstack([root * term.rows for root, term in zip(roots, weighted, strict=True)])
            labels = np.concatenate([root * term.labels for root, term in zip(roots, weighted, strict=True)])
            for equations, n in zip(sums, times.tolist(), strict=True):
                if n:
                    equations.add(n**0.5 * rows, n**0.5 * labels)
        return _Samples([equations.total() for equations in sums])
