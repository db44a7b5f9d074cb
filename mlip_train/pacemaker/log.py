"""What the engine's log says; it holds all attempts at a fit."""

import re
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from mlip_train.pacemaker.callbacks import COMPUTES_ON, USED_UP
from mlip_train.records.fit import Timings

__all__ = ["devices_in_log", "last_attempt", "log_tail", "read_clock", "read_timings", "reason_it_stopped"]

_BEGINS: Final = "Start pacemaker"  # said once per attempt
_STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ")
# an iteration's end on the training set: a stamped line, or every few a table under a stamped empty one
_ITERATION: Final = re.compile(r" - INFO - (Initial state:|Iteration +)#\d+ |^-+FIT STATS-+$")
_ATOMS: Final = re.compile(r"Total number of atoms: (\d+)")  # of the training set first
_EVALUATION: Final = re.compile(r"\((\d+) evals\).*Time/eval: +([\d.]+) mcs/at")
_LOG_LINES = 15
_FIT_BEGINS = "Cycle fitting loop"  # said by the engine once per attempt and ladder step
_REASONS = {  # of scipy.optimize.minimize
    0: "flat (the optimiser's own criterion)",
    1: "out of epochs",
    2: "flat (no step lowers the loss any more)",
    99: "flat (early stopping)",
}


def last_attempt(log: Path) -> list[str]:
    """The lines of the newest attempt; none where there is no log."""
    if not log.exists():
        return []
    return log.read_text(errors="replace").rpartition(_BEGINS)[2].splitlines()


def reason_it_stopped(log: Path) -> str:
    """Why the last fit of a log ended, in a few words."""
    text = log.read_text(errors="replace") if log.exists() else ""
    last = text[max(text.rfind(_FIT_BEGINS), 0) :]
    if USED_UP in last:
        return "out of time (fit.max_hours)"
    statuses = re.findall(r"Optimization result\(success=\w+, status=(\d+)", last)
    return _REASONS.get(int(statuses[-1]), f"status {statuses[-1]}") if statuses else "ended"


def log_tail(log: Path) -> str:
    """The last lines of the engine's log, indented."""
    if not log.exists():
        return "  (the engine printed nothing)"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  {line[:300]}" for line in lines[-_LOG_LINES:]) or "  (the engine printed nothing)"


def devices_in_log(log: Path) -> str | None:
    """What the engine said in its last attempt; None if nothing yet."""
    lines = [line.removeprefix(COMPUTES_ON) for line in last_attempt(log) if line.startswith(COMPUTES_ON)]
    return lines[-1] if lines else None


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
