"""`make work` without Prefect: its workers are made-up processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

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
        started[pool] = subprocess.Popen(["sleep", "20"])
        return started[pool]

    monkeypatch.setattr(work, "_start", start)
    monkeypatch.setattr(work, "prefect_api", nullcontext)
    monkeypatch.setattr(work, "provide_pools", lambda: None)
    monkeypatch.setenv("PREFECT_API_URL", os.environ.get("PREFECT_API_URL", ""))  # `main` sets it; put back after
    return started


@pytest.fixture(autouse=True)
def _signals() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def while_they_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Does something once, when `main` has started both workers and waits."""

    def do(act: Callable[[], object]) -> None:
        looks = iter([act])

        def sleep(_: float) -> None:
            next(looks, lambda: pytest.fail("it goes on"))()

        monkeypatch.setattr(work, "time", SimpleNamespace(sleep=sleep))

    return do


@pytest.mark.parametrize("ends", [CPU_POOL, GPU_POOL])
def test_when_one_worker_ends_so_does_the_other(
    workers: Workers, while_they_work: Callable[[Callable[[], object]], None], ends: str
) -> None:
    def end_one() -> None:
        workers[ends].kill()
        workers[ends].wait()

    while_they_work(end_one)
    with pytest.raises(SystemExit, match=f"the worker of {ends} has ended"):
        work.main()
    ended = {pool: worker.returncode for pool, worker in workers.items()}
    assert ended == {**dict.fromkeys((CPU_POOL, GPU_POOL), -signal.SIGTERM), ends: -signal.SIGKILL}


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_both_workers_end_when_it_is_told_to(
    workers: Workers, while_they_work: Callable[[Callable[[], object]], None], by: signal.Signals
) -> None:
    # a signal that is not handled would end the tests
    signal.signal(by, signal.SIG_IGN if by == signal.SIGTERM else signal.default_int_handler)
    while_they_work(lambda: os.kill(os.getpid(), by))
    work.main()
    assert {worker.returncode for worker in workers.values()} == {-signal.SIGTERM}


def test_a_worker_does_not_stay_when_the_other_cannot_be_started(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = work._start

    def start_one(pool: str, *options: str) -> subprocess.Popen[bytes]:
        if pool == GPU_POOL:
            raise OSError("no more processes")
        return start(pool, *options)

    monkeypatch.setattr(work, "_start", start_one)
    with pytest.raises(OSError, match="no more processes"):
        work.main()
    assert workers[CPU_POOL].returncode == -signal.SIGTERM


def test_the_gpu_pool_has_its_one_slot_before_a_worker_could_make_it(
    workers: Workers, while_they_work: Callable[[Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provided: list[int] = []
    monkeypatch.setattr(work, "provide_pools", lambda: provided.append(len(workers)))
    while_they_work(lambda: os.kill(os.getpid(), signal.SIGTERM))
    work.main()
    assert provided == [0]


def test_workers_do_not_get_the_interrupt_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "true")
    worker = work._start(CPU_POOL)
    assert os.getsid(worker.pid) == worker.pid
    worker.wait()
