"""A Prefect process worker that ends its runs before itself: `python -m deployments.worker POOL [OPTIONS]`.

Prefect's own worker, when it is asked to end (`docker stop`, `systemctl stop`, the end of an allocation), kills
its runs: their engine goes on or dies without its interim potential, and the server shows them as Running until it
has missed their heartbeats.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import psutil

__all__ = ["run_worker"]

_PATIENCE = 60.0  # seconds for the runs to stop their engine and tell the server


def run_worker(arguments: Sequence[str]) -> int:
    """Run `prefect worker start` until it ends or this process is asked to; return its exit code, 0 when asked."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", *arguments]
    worker: subprocess.Popen[bytes] | None = None
    asked = False

    def end(*_: int | FrameType | None) -> None:
        nonlocal asked
        asked = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if worker is None:
            sys.exit(0)
        _end_runs(worker.pid)
        worker.terminate()

    # Before the worker is started: it stops itself by SIGINT, which it would inherit as ignored from a script.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    worker = subprocess.Popen(command, process_group=0)  # Ctrl-C reaches it through `end` only
    code = worker.wait()
    return 0 if asked else code


def _end_runs(worker: int) -> None:
    """Tell flow runs to end, and wait for them: each stops its engine and reports that it crashed."""
    deadline = time.monotonic() + _PATIENCE
    # again and again: until it is asked to end itself, the worker begins others
    while (runs := _runs_of(worker)) and time.monotonic() < deadline:
        for run in runs:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                run.terminate()
        psutil.wait_procs(runs, timeout=max(deadline - time.monotonic(), 0))


def _runs_of(worker: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(worker).children())
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m deployments.worker POOL [options of `prefect worker start`]")
    sys.exit(run_worker(sys.argv[1:]))
