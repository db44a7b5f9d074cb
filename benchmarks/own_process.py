"""Steps of a benchmark in processes of their own, with what they and their children took."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import psutil

__all__ = ["in_own_process"]

_LOOK_EVERY = 0.05  # s


def in_own_process(script: str, *step: object) -> tuple[int, float]:
    """Run a step; return the most memory (bytes) and all processor time (s) of it and its children."""
    process = subprocess.Popen([sys.executable, script, "--step", *map(str, step)])
    watched, peak = psutil.Process(process.pid), 0
    cpu: dict[int, float] = {}  # of each process, when last seen
    while process.poll() is None:
        peak = max(peak, _look(watched, cpu))
        time.sleep(_LOOK_EVERY)
    if process.returncode:
        sys.exit(f"{step[0]} failed with exit code {process.returncode}")
    return peak, sum(cpu.values())


def _look(process: psutil.Process, cpu: dict[int, float]) -> int:
    """Sum of the resident sizes of a process and its children; their processor times go into `cpu`."""
    total = 0
    with contextlib.suppress(psutil.Error):  # one has just ended
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
            times = one.cpu_times()
            cpu[one.pid] = times.user + times.system
    return total
