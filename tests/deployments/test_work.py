"""`make work` without Prefect: its workers are made-up processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from deployments import work
from deployments.deploy import CPU_POOL, GPU_POOL

Workers = dict[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """What `main` starts, by work pool: processes that wait to be ended."""
    started: Workers = {}

    def start(pool: str, *options: str) -> subprocess.Popen[bytes]:
        assert options == (("--limit", "1") if pool == GPU_POOL else ())
        started[pool] = subprocess.Popen(["sleep", "60"])
        return started[pool]

    monkeypatch.setattr(work, "_start", start)
    monkeypatch.setattr(work, "prefect_api", nullcontext)
    monkeypatch.setenv("PREFECT_API_URL", os.environ.get("PREFECT_API_URL", ""))  # `main` sets it; put back after
    return started


@pytest.fixture(autouse=True)
def _signals() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def once_there_are_two(workers: Workers, act: Callable[[], object]) -> None:
    def when() -> None:
        while len(workers) < 2:
            pass
        act()

    threading.Thread(target=when, daemon=True).start()


@pytest.mark.parametrize("ends", [CPU_POOL, GPU_POOL])
def test_when_one_worker_ends_so_does_the_other(workers: Workers, ends: str) -> None:
    once_there_are_two(workers, lambda: workers[ends].kill())
    work.main()
    assert {pool: worker.returncode for pool, worker in workers.items()} == {
        CPU_POOL: -signal.SIGTERM,
        GPU_POOL: -signal.SIGTERM,
        ends: -signal.SIGKILL,
    }


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_both_workers_end_when_it_is_told_to(workers: Workers, by: signal.Signals) -> None:
    once_there_are_two(workers, lambda: os.kill(os.getpid(), by))
    work.main()
    assert {worker.returncode for worker in workers.values()} == {-signal.SIGTERM}


def test_workers_do_not_get_the_interrupt_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "true")
    worker = work._start(CPU_POOL)
    assert os.getsid(worker.pid) == worker.pid
    worker.wait()
