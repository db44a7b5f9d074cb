"""Where an engine's time went, read from its log."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from mlip_train.model import FrozenModel
from mlip_train.pacemaker.log import last_attempt

__all__ = ["Timings", "read_timings"]

_STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ")
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


def _evaluations_in(line: str) -> _Evaluations | None:
    """What a line on an iteration says; those on the test set are not timed."""
    stamp, found = _STAMP.match(line), _EVALUATION.search(line)
    if stamp is None or found is None or not float(found[2]):
        return None
    ended = datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S,%f")
    return _Evaluations(ended, int(found[1]), float(found[2]))
