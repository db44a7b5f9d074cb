"""Where an engine's time went, read from its log."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

from mlip_train.model import FrozenModel
from mlip_train.pacemaker.log import last_attempt

__all__ = ["Timings", "read_timings"]

_STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ")
_ATOMS: Final = re.compile(r"Total number of atoms: (\d+)")  # of the training set first
_EVALUATION: Final = re.compile(r"\((\d+) evals\).*Time/eval: +([\d.]+) mcs/at")


class Timings(FrozenModel):
    """Seconds of an engine's last attempt. A GPU that waits for the CPU shows in `optimiser`."""

    start_up: float  # imports, neighbour lists, graph tracing: until the first evaluation has ended
    evaluator: float  # energies, forces and their gradients, where TensorFlow computes
    optimiser: float  # everything else: the optimiser's own algebra, tests, files

    def __str__(self) -> str:
        return (
            f"start-up {self.start_up:.0f} s, evaluator {self.evaluator:.0f} s, optimiser {self.optimiser:.0f} s"
        )


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
        None where the log does not tell, as that of another version of the engine.
    """
    attempt = last_attempt(log)
    atoms = next((int(found[1]) for line in attempt if (found := _ATOMS.search(line))), None)
    evaluations = [
        (line, int(found[1]), float(found[2])) for line in attempt if (found := _EVALUATION.search(line))
    ]
    stamps = [_time_of(line) for line in attempt]
    begin = next((stamp for stamp in stamps if stamp), None)
    first = _time_of(evaluations[0][0]) if evaluations else None
    timed = [each for _, _, each in evaluations[1:] if each > 0]  # the first one includes tracing
    if atoms is None or begin is None or first is None or not timed:
        return None
    start_up = (first - begin).total_seconds()
    n_evaluations = max(count for _, count, _ in evaluations) - 1
    evaluator = min(1e-6 * median(timed) * atoms * n_evaluations, max(seconds - start_up, 0.0))
    return Timings(start_up=start_up, evaluator=evaluator, optimiser=max(seconds - start_up - evaluator, 0.0))


def _time_of(line: str) -> datetime | None:
    stamp = _STAMP.match(line)
    return datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S,%f") if stamp else None
