"""Where an engine's time went, read from its log."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from mlip_train.model import FrozenModel
from mlip_train.pacemaker.log import last_attempt

__all__ = ["Timings", "read_clock", "read_timings"]

_STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ")
# an iteration's end on the training set: a stamped line, or every few a table under a stamped empty one
_ITERATION: Final = re.compile(r" - INFO - (Initial state:|Iteration +)#\d+ |^-+FIT STATS-+$")
_ATOMS: Final = re.compile(r"Total number of atoms: (\d+)")  # of the training set first
_EVALUATION: Final = re.compile(r"\((\d+) evals\).*Time/eval: +([\d.]+) mcs/at")


class Timings(FrozenModel):
    """Seconds of an engine's last attempt. A GPU that waits for the CPU shows in `optimiser`."""

    start_up: float  # until the first iteration has ended, and from the last to the exit: imports, graphs, files
    evaluator: float  # energies, forces and their gradients, where TensorFlow computes
    optimiser: float  # what else iterations take: the optimiser's own algebra, tests of the potential

    def __str__(self) -> str:
        return (
            f"start-up and end {self.start_up:.0f} s, evaluator {self.evaluator:.0f} s, "
            f"optimiser {self.optimiser:.0f} s"
        )


class _Evaluations(NamedTuple):
    ended: datetime
    n_done: int  # since the fit began
    each: float  # microseconds per atom


def read_timings(log: Path, seconds: float) -> Timings | None:
    """Split the seconds of an attempt.

    Parameters
    ----------
    log : Path
        The engine's log, of all attempts.
    seconds : float
        From start to exit of the last one.

    Returns
    -------
    Timings or None
        None where the log does not tell, as that of another version of the engine or of a single iteration.
    """
    attempt = last_attempt(log)
    atoms = next((int(found[1]) for line in attempt if (found := _ATOMS.search(line))), None)
    iterations = [timed for line in attempt if (timed := _evaluations_in(line)) and timed.n_done > 1]
    if atoms is None or len(iterations) < 2:
        return None
    first, last = iterations[0], iterations[-1]
    fitting = min(max((last.ended - first.ended).total_seconds(), 0.0), seconds)
    each = 1e-6 * median(timed.each for timed in iterations) * atoms
    evaluator = min(each * (last.n_done - first.n_done), fitting)
    return Timings(start_up=seconds - fitting, evaluator=evaluator, optimiser=fitting - evaluator)


def read_clock(log: Path, n_iterations: int) -> tuple[float, ...]:
    """Seconds from the start of the last attempt to the end of each of its iterations.

    Empty where the log does not tell them of that many iterations.
    """
    began, now, ended = None, None, []
    for line in last_attempt(log):
        now = _stamp_of(line) or now
        began = began or now
        if _ITERATION.search(line) and began and now:
            ended.append((now - began).total_seconds())
    return tuple(ended) if len(ended) == n_iterations else ()


def _stamp_of(line: str) -> datetime | None:
    stamp = _STAMP.match(line)
    return None if stamp is None else datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S,%f")


def _evaluations_in(line: str) -> _Evaluations | None:
    """What a line on an iteration says; those on the test set are not timed."""
    ended, found = _stamp_of(line), _EVALUATION.search(line)
    if ended is None or found is None or not float(found[2]):
        return None
    return _Evaluations(ended, int(found[1]), float(found[2]))
