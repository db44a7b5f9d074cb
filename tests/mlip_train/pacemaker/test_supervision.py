"""The engine under watch: what is told of it, what is kept of it, and that it never outlives its watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import EngineError, NoGpuError, TrainingFailedError, TrainingInterruptedError
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.interim import InterimRecord, resumable
from mlip_train.pacemaker.metrics import FitProgress
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.pacemaker.supervision import (
    EngineProcess,
    Listener,
    _progress_while_running,
    in_subprocess,
    run_engine,
)
from tests.flows.processes import engines_of, wait_for
from tests.mlip_train.planning import edit, planned

HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


@pytest.fixture
def plan(make_campaign: Make, write_batch: WriteBatch) -> FitPlan:
    campaign = make_campaign(start={"first": "zeros"})  # the metrics below are those of no start potential
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    EngineScratch(plan.run.scratch).renew()
    return plan


@pytest.fixture
def endless(make_campaign: Make, write_batch: WriteBatch, tmp_path: Path) -> FitPlan:
    """A fit that waits after its first iteration."""
    campaign = make_campaign(start={"first": "zeros"}, environment={"STANDIN_UNTIL": str(tmp_path / "never")})
    accumulate(campaign, [write_batch(0, 3)])
    return planned(campaign, 1)


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.supervision._LOOK_EVERY", 0.05)
    monkeypatch.setattr("mlip_train.pacemaker.supervision._REPORT_EVERY", 0.1)


class Recorder(Listener):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.iterations: list[int] = []
        self.has_ended = False

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, progress: FitProgress) -> None:
        self.iterations.append(progress.iteration)

    def end(self) -> None:
        self.has_ended = True


class Deaf(Listener):
    """Raises as soon as it hears of progress."""

    def __init__(self, error: BaseException, campaign: Path) -> None:
        self._error, self._campaign = error, Campaign(campaign)
        self.engines: list[psutil.Process] = []

    def progress(self, progress: FitProgress) -> None:
        self.engines = engines_of(self._campaign)
        raise self._error


@pytest.mark.usefixtures("watched_closely")
def test_progress_is_told_when_there_is_news_until_the_process_ends(plan: FitPlan) -> None:
    metrics = EngineScratch(plan.run.scratch).metrics
    ends_when_told = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(ends_when_told, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        seen = []
        for number, progress in enumerate(_progress_while_running(plan, process.pid)):
            seen.append(progress.iteration if progress else None)
            if number == 1:
                metrics.write_text(HEADER + "0 0 0 0.5 0.1 0.4 8\n")
            if number == 3:
                metrics.write_text("something else\nthan metrics\n")
            if number == 5:
                metrics.write_text(HEADER + "0 0 0 0.5 0.1 0.4 8\n0 0 1 0.4 0.1 0.4 8\n")
            if number == 7:
                process.stdin.close()
        # its exit code is left for whoever started it
        assert process.wait() == 0
    assert seen[:2] == [None, None]
    assert [iteration for iteration in seen if iteration is not None] == [0, 1]


def test_an_engine_that_ended_at_once_is_noticed(plan: FitPlan) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # until it has ended
        assert list(_progress_while_running(plan, process.pid)) == []
        assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT) is not None


@pytest.mark.usefixtures("watched_closely")
def test_a_fit_that_did_not_continue_is_stopped_at_its_first_report(
    make_campaign: Make, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    EngineScratch(plan.run.scratch).renew()
    EngineScratch(plan.run.scratch).metrics.write_text(HEADER + "0 0 0 99 9.9 99 8\n")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as process:
        with pytest.raises(TrainingFailedError, match="did not continue"):
            list(_progress_while_running(plan, process.pid))
        process.kill()


def test_the_engine_gets_the_environment_and_the_gpu_that_were_asked_for(
    make_campaign: Make, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(start={"first": "zeros"}, gpu={"index": 3}, fit={"max_epochs": 8, "max_hours": 1})
    told = 'echo "told $KEY $CUDA_VISIBLE_DEVICES ${MLIP_TRAIN_DEADLINE:+in time} in ${PWD##*/}"; exit 7'
    environment = {"KEY": "value", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    edit(campaign, engine={"command": ["bash", "-c", told], "environment": environment})
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    assert run_engine(plan, Listener(), in_subprocess) == 7
    assert "told value 3 in time in scratch\n" in plan.run.log.read_text()


def test_what_an_engine_reached_after_the_last_look_is_kept(
    make_campaign: Make, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(start={"first": "zeros"}, environment={"STANDIN_FAILS": "killed"})
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)

    def look_away(_: FitPlan, pid: int, __: Listener) -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr("mlip_train.pacemaker.supervision._watch", look_away)
    assert run_engine(plan, Listener(), in_subprocess) == -signal.SIGKILL
    assert InterimRecord.load(plan.run.interim_record).iterations == 2


@pytest.mark.parametrize(
    ("error", "resumes"),
    [(TrainingFailedError("did not continue"), False), (TrainingInterruptedError("out of time"), True)],
    ids=["which did not continue", "which was interrupted"],
)
def test_a_fit_is_resumed_from_an_earlier_attempt_unless_it_did_not_continue_that(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch, error: EngineError, resumes: bool
) -> None:
    plan.run.interim_potential.touch()
    InterimRecord(identity=plan.identity, iterations=3, loss=1.0, complete=True).save(plan.run.interim_record)

    def watch(*_: object) -> None:
        raise error

    monkeypatch.setattr("mlip_train.pacemaker.supervision._watch", watch)
    with pytest.raises(type(error)):
        run_engine(plan, Listener(), in_subprocess)
    assert (resumable(plan.run, plan.identity) is not None) == resumes


@pytest.mark.usefixtures("watched_closely")
def test_a_listener_hears_of_the_devices_of_progress_and_of_the_end(
    make_campaign: Make, write_batch: WriteBatch
) -> None:
    environment = {"STANDIN_SECONDS": "0.3", "STANDIN_DEVICES": "/device:CPU:0 /device:GPU:0"}
    campaign = make_campaign(start={"first": "zeros"}, environment=environment, gpu={"required": True})
    accumulate(campaign, [write_batch(0, 3)])
    heard = Recorder()
    assert run_engine(planned(campaign, 1), heard, in_subprocess) == 0
    assert heard.notes == ["TensorFlow computes on /device:CPU:0, /device:GPU:0"]
    assert len(heard.iterations) > 2
    assert heard.iterations == sorted(set(heard.iterations))
    assert heard.has_ended


@pytest.mark.usefixtures("watched_closely")
def test_an_engine_that_got_no_gpu_is_ended(make_campaign: Make, write_batch: WriteBatch) -> None:
    environment = {"STANDIN_SECONDS": "1", "STANDIN_DEVICES": "/device:CPU:0"}
    campaign = make_campaign(start={"first": "zeros"}, environment=environment, gpu={"required": True})
    accumulate(campaign, [write_batch(0, 3)])
    with pytest.raises(NoGpuError, match="the engine computes on /device:CPU:0"):
        run_engine(planned(campaign, 1), Listener(), in_subprocess)
    assert engines_of(campaign) == []


@pytest.mark.usefixtures("watched_closely")
def test_an_engine_is_ended_when_its_time_is_up_and_what_it_reached_is_kept(
    make_campaign: Make, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(start={"first": "zeros"}, environment={"STANDIN_SECONDS": "0.3"})
    edit(campaign, fit={"max_epochs": 900}, engine={"max_hours": 8 / 3600})
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    with pytest.raises(TrainingInterruptedError, match=r"generation 1 reached engine\.max_hours"):
        run_engine(plan, Listener(), in_subprocess)
    assert engines_of(campaign) == []
    kept = resumable(plan.run, plan.identity)
    assert kept is not None
    assert kept.iterations > 0


@pytest.mark.usefixtures("watched_closely")
@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_no_engine_is_left_behind_when_its_watch_ends(endless: FitPlan, error: BaseException) -> None:
    listener = Deaf(error, endless.campaign)
    with pytest.raises(type(error)):
        run_engine(endless, listener, in_subprocess)
    assert listener.engines != []
    assert [engine.pid for engine in listener.engines if engine.is_running()] == []
    assert engines_of(Campaign(endless.campaign)) == []


@pytest.mark.usefixtures("watched_closely")
def test_whatever_launches_the_engine_is_told_when_its_watch_ends(plan: FitPlan) -> None:
    ended = []

    @contextmanager
    def launch(commands: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[EngineProcess]:
        assert str(plan.run.input_yaml) in commands[-1]
        assert folder == plan.run.scratch
        try:
            with in_subprocess(["exec sleep 60"], environment, folder) as process:
                EngineScratch(folder).metrics.write_text(HEADER + "0 0 0 0.5 0.1 0.4 8\n")
                yield process
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError):
        run_engine(plan, Deaf(ZeroDivisionError(), plan.campaign), launch)
    assert ended == [True]


# --- a child of this process ---


def test_lines_of_bash_run_in_a_folder_with_an_environment(tmp_path: Path) -> None:
    lines = ["set -e", 'echo "$KEY $HOME" > "$PWD/told"', "exit 7"]
    with in_subprocess(lines, {"KEY": "a value"}, tmp_path) as process:
        assert process.wait() == 7
    assert (tmp_path / "told").read_text() == f"a value {os.environ['HOME']}\n"


def test_a_signal_is_told_as_a_negative_exit_code(tmp_path: Path) -> None:
    with in_subprocess(["kill -KILL $$"], {}, tmp_path) as process:
        assert process.wait() == -signal.SIGKILL


def interrupted(commands: Sequence[str], folder: Path) -> list[psutil.Process]:
    """What these lines have started, after their context was left by an interruption."""
    started: list[psutil.Process] = []
    with suppress(KeyboardInterrupt), in_subprocess(commands, {}, folder) as process:
        assert wait_for((folder / "ready").exists, 10)
        parent = psutil.Process(process.pid)
        started += [parent, *parent.children(recursive=True)]
        raise KeyboardInterrupt
    return started


def test_what_a_child_has_started_itself_is_ended_with_it(tmp_path: Path) -> None:
    started = interrupted(["sleep 60 &", "sleep 60 &", "touch ready", "wait"], tmp_path)
    assert len(started) == 3
    assert wait_for(lambda: not any(map(is_alive, started)), 5)


def test_a_child_may_put_its_things_in_order_before_it_ends(tmp_path: Path) -> None:
    interrupted(["trap 'echo kept > kept; exit' TERM", "touch ready", "while true; do sleep 0.1; done"], tmp_path)
    assert (tmp_path / "kept").read_text() == "kept\n"


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.supervision._PATIENCE", 0.3)
    began = time.monotonic()
    started = interrupted(["trap '' TERM", "touch ready", "while true; do sleep 0.1; done"], tmp_path)
    assert wait_for(lambda: not any(map(is_alive, started)), 5)
    assert time.monotonic() - began < 10


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
