"""What a signal to a worker does, in which order: with a stand-in for Prefect's own worker, which has one run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import deployments.worker
from tests.conftest import REPOSITORY
from tests.flows.processes import wait_for

RUN = """
import os, signal, sys, time
def told(*_):
    print("run told", flush=True)
    time.sleep(1)
    print("run ended", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, told)
print("run begun", flush=True)
time.sleep(60)
"""
BUSY_RUN = """
import os, signal, sys, time
def told(*_):
    print("told", flush=True)
    sys.stdin.read()
    os._exit(0)
signal.signal(signal.SIGTERM, told)
print("begun", flush=True)
time.sleep(60)
"""
WORKER = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("worker told", flush=True), os._exit(1)))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    print("deaf worker", flush=True)
signal.signal(signal.SIGINT, lambda *_: print("worker interrupted", flush=True))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a run that ended is gone
print(*sys.argv[1:], flush=True)
if "ends-itself" in sys.argv:
    sys.exit(3)
if "busy" in sys.argv:
    # begins another run while the first one ends, which waits for that
    pipe = subprocess.PIPE
    run = subprocess.Popen([sys.executable, "-c", {BUSY_RUN!r}], stdin=pipe, stdout=pipe)
    run.stdout.readline()
    print("run begun", flush=True)
    run.stdout.readline()
    second = subprocess.Popen([sys.executable, "-c", {RUN!r}], stdout=pipe)
    second.stdout.readline()
    run.stdin.close()
    print("second " + second.stdout.readline().decode(), end="", flush=True)
elif "idle" not in sys.argv:
    subprocess.Popen([sys.executable, "-c", {RUN!r}], start_new_session=True)
else:
    print("run begun", flush=True)
time.sleep(60)
"""
BEGUN = "worker start --type process --pool {} --limit 1\nrun begun\n"

StartWorker = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return tmp_path / "story.txt"


@pytest.fixture
def start_worker(tmp_path: Path, story: Path) -> Iterator[StartWorker]:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").touch()
    (tmp_path / "prefect" / "__main__.py").write_text(WORKER)
    started = []

    def start(pool: str) -> subprocess.Popen[bytes]:
        with story.open("ab") as stream:
            worker = subprocess.Popen(
                [sys.executable, "-m", "deployments.worker", pool, "--limit", "1"],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(tmp_path)},
                stdout=stream,
                stderr=stream,
                # from a script, which is where a worker would inherit an interrupt that is ignored
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
                start_new_session=True,
            )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_the_run_is_ended_before_the_worker(start_worker: StartWorker, story: Path, by: signal.Signals) -> None:
    worker = start_worker("pool")
    assert wait_for(lambda: "run begun" in story.read_text(), 30), story.read_text()
    os.killpg(worker.pid, by)  # Ctrl-C reaches all processes of a terminal
    assert worker.wait(30) == 0
    assert story.read_text() == BEGUN.format("pool") + "run told\nrun ended\nworker told\n"


def test_an_impatient_person_does_not_disturb_the_run_while_it_ends(
    start_worker: StartWorker, story: Path
) -> None:
    worker = start_worker("pool")
    assert wait_for(lambda: "run begun" in story.read_text(), 30), story.read_text()
    worker.terminate()
    assert wait_for(lambda: "run told" in story.read_text(), 30)
    for by in (signal.SIGTERM, signal.SIGINT):
        worker.send_signal(by)
    assert worker.wait(30) == 0
    assert story.read_text() == BEGUN.format("pool") + "run told\nrun ended\nworker told\n"


def test_a_run_that_begins_while_others_end_is_ended_too(start_worker: StartWorker, story: Path) -> None:
    worker = start_worker("busy")
    assert wait_for(lambda: "run begun" in story.read_text(), 30), story.read_text()
    worker.terminate()
    assert worker.wait(30) == 0
    assert story.read_text() == BEGUN.format("busy") + "second run told\nworker told\n"


def test_a_worker_without_runs_is_ended(start_worker: StartWorker, story: Path) -> None:
    worker = start_worker("idle")
    assert wait_for(lambda: "run begun" in story.read_text(), 30), story.read_text()
    worker.terminate()
    assert worker.wait(30) == 0
    assert story.read_text().endswith("worker told\n")


def test_a_worker_that_ends_by_itself_says_how(start_worker: StartWorker) -> None:
    assert start_worker("ends-itself").wait(30) == 3


def test_a_worker_that_has_ended_meanwhile_has_no_runs() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    deployments.worker._end_runs(gone.pid)


def test_told_before_the_worker_has_started_it_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {by: signal.getsignal(by) for by in (signal.SIGTERM, signal.SIGINT)}

    def told_just_now(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    monkeypatch.setattr(subprocess, "Popen", told_just_now)
    try:
        with pytest.raises(SystemExit) as ended:
            deployments.worker.run_worker(["pool"])
    finally:
        for by, handler in handlers.items():
            signal.signal(by, handler)
    assert ended.value.code == 0
