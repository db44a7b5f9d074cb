from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from mlip_train import Campaign
from mlip_train.accumulation import accumulate
from mlip_train.errors import EngineError, NoGpuError, TrainingFailedError, TrainingInterruptedError
from mlip_train.pacemaker.devices import Devices
from mlip_train.pacemaker.interim import InterimRecord, resumable
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.planning import FitPlan, FitRecord
from tasks.engine import _progress_while_running, run_engine
from tasks.train import _check_devices_here, train
from tests.mlip_train.planning import edit, finished, planned

HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"


@pytest.fixture
def plan(make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]) -> FitPlan:
    campaign = make_campaign(start={"first": "zeros"})  # the metrics below are those of no start potential
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    EngineScratch(plan.run.scratch).renew()
    return plan


def test_progress_is_told_when_there_is_news_until_the_process_ends(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine._LOOK_EVERY", 0.05)
    monkeypatch.setattr("tasks.engine._REPORT_EVERY", 0.1)
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


def test_a_fit_that_did_not_continue_is_stopped_at_its_first_report(
    make_campaign: Callable[..., Campaign],
    write_batch: Callable[[int, int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.engine._LOOK_EVERY", 0.05)
    monkeypatch.setattr("tasks.engine._REPORT_EVERY", 0.1)
    campaign = make_campaign()
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    EngineScratch(plan.run.scratch).renew()
    EngineScratch(plan.run.scratch).metrics.write_text(HEADER + "0 0 0 99 9.9 99 8\n")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as process:
        with pytest.raises(TrainingFailedError, match="did not continue"):
            list(_progress_while_running(plan, process.pid))
        process.kill()


def test_a_gpu_is_looked_for_as_the_engine_will_look_for_it(
    make_campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def visible(environment: dict[str, str]) -> Devices:
        asked.append(environment)
        return Devices(tensorflow="2.20.0", gpus=())

    monkeypatch.setattr("tasks.train.visible_devices", visible)
    monkeypatch.setattr("tasks.train.get_run_logger", lambda: SimpleNamespace(info=lambda *_: None))
    usual = make_campaign("usual", real_engine=True, gpu={"index": 1}, environment={"KEY": "value"})
    with pytest.raises(NoGpuError):
        _check_devices_here(usual.config.engine)
    assert asked == [{"KEY": "value", "CUDA_VISIBLE_DEVICES": "1"}]
    for other in ({"gpu": {"index": 1}}, {"gpu": None, "real_engine": True}):
        _check_devices_here(make_campaign(str(other), **other).config.engine)
    assert len(asked) == 1  # what a launcher or another installation sees is not known here


def test_the_engine_gets_the_environment_and_the_gpu_that_were_asked_for(
    make_campaign: Callable[..., Campaign],
    write_batch: Callable[[int, int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = make_campaign(start={"first": "zeros"}, gpu={"index": 3}, fit={"max_epochs": 8, "max_hours": 1})
    told = 'echo "told $KEY $CUDA_VISIBLE_DEVICES ${MLIP_TRAIN_DEADLINE:+in time} in ${PWD##*/}"; exit 7'
    environment = {"KEY": "value", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    edit(campaign, engine={"command": ["bash", "-c", told], "environment": environment})
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)
    monkeypatch.setattr("tasks.engine.get_run_logger", lambda: None)
    monkeypatch.setattr(
        "tasks.engine.ProgressReport", lambda _: SimpleNamespace(update=lambda *_: None, end=lambda: None)
    )
    assert run_engine(plan) == 7
    assert "told value 3 in time in scratch\n" in plan.run.log.read_text()


def test_what_an_engine_reached_after_the_last_look_is_kept(
    make_campaign: Callable[..., Campaign],
    write_batch: Callable[[int, int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = make_campaign(start={"first": "zeros"}, environment={"STANDIN_FAILS": "killed"})
    accumulate(campaign, [write_batch(0, 3)])
    plan = planned(campaign, 1)

    def look_away(_: FitPlan, pid: int) -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr("tasks.engine._watch", look_away)
    assert run_engine(plan) == -signal.SIGKILL
    assert InterimRecord.model_validate_json(plan.run.interim_record.read_bytes()).iterations == 2


@pytest.mark.parametrize(
    ("error", "resumes"),
    [(TrainingFailedError("did not continue"), False), (TrainingInterruptedError("out of time"), True)],
    ids=["which did not continue", "which was interrupted"],
)
def test_a_fit_is_resumed_from_an_earlier_attempt_unless_it_did_not_continue_that(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch, error: EngineError, resumes: bool
) -> None:
    plan.run.interim_potential.touch()
    earlier = InterimRecord(identity=plan.identity, iterations=3, loss=1.0, complete=True)
    plan.run.interim_record.write_text(earlier.model_dump_json())

    def watch(_: FitPlan, __: int) -> None:
        raise error

    monkeypatch.setattr("tasks.engine._watch", watch)
    with pytest.raises(type(error)):
        run_engine(plan)
    assert (resumable(plan.run, plan.identity) is not None) == resumes


def test_a_training_by_another_run_is_waited_for_and_its_result_used(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, warned = threading.Event(), []

    def warning(message: str, *values: object) -> None:
        warned.append(message % values)
        waits.set()

    def engine(_: FitPlan) -> FitRecord:
        raise AssertionError("trained a second time")

    monkeypatch.setattr("tasks.train.get_run_logger", lambda: SimpleNamespace(warning=warning))
    monkeypatch.setattr("tasks.train._train_with_engine", engine)
    got: list[FitRecord] = []
    second = threading.Thread(target=lambda: got.append(train.fn(plan)))
    with filelock.FileLock(plan.run.training_lock):
        second.start()
        assert waits.wait(30)
        assert second.is_alive()
        theirs = finished(plan)
    second.join(30)
    assert got == [theirs]
    assert warned == ["Generation 1 is being trained already; waiting for that"]


def test_a_training_that_fails_lets_the_next_one_train(plan: FitPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(_: FitPlan) -> FitRecord:
        raise TrainingFailedError("this is the reason")

    monkeypatch.setattr("tasks.train._train_with_engine", engine)
    monkeypatch.setattr("tasks.train.get_run_logger", lambda: None)
    # not only when Python happens to collect it
    monkeypatch.setattr(filelock.FileLock, "__del__", lambda lock: None, raising=False)
    with pytest.raises(TrainingFailedError):
        train.fn(plan)
    with filelock.FileLock(plan.run.training_lock, timeout=0):
        pass
