"""The task around the library's training: its shell operation and what it passes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from mlip_train import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.intake.accumulation import accumulate
from mlip_train.records.fit import FitRecord
from tasks.train import _in_shell_operation, train
from tests.flows.processes import engines_of, wait_for
from tests.mlip_train.planning import planned

MakePlan = Callable[..., FitPlan]


@pytest.fixture
def make_plan(make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]) -> MakePlan:
    """Plans the fit of three structures."""

    def made(**environment: str) -> FitPlan:
        campaign = make_campaign(start={"first": "zeros"}, environment=environment)
        accumulate(campaign, [write_batch(0, 3)])
        return planned(campaign, 1)

    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the task says, without a run that it would say it in."""
    lines: list[str] = []

    def log(message: str, *values: object, **_: Any) -> None:
        lines.append(message % values)

    monkeypatch.setattr("tasks.train.get_run_logger", lambda: SimpleNamespace(info=log, warning=log))
    return lines


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What it reports as progress."""
    reports: list[tuple[float, str]] = []
    report = SimpleNamespace(
        update=lambda percent, text: reports.append((percent, text)), end=lambda: reports.append((100.0, "end"))
    )
    monkeypatch.setattr("tasks.train.ProgressReport", lambda plan: report)
    return reports


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.supervision._LOOK_EVERY", 0.05)
    monkeypatch.setattr("mlip_train.pacemaker.supervision._REPORT_EVERY", 0.1)


@pytest.mark.usefixtures("watched_closely")
def test_a_fit_is_logged_and_its_progress_reported(
    make_plan: MakePlan, said: list[str], reported: list[tuple[float, str]]
) -> None:
    plan = make_plan(STANDIN_SECONDS="0.3", STANDIN_DEVICES="/device:CPU:0")
    record = train.fn(plan)
    assert FitRecord.load(plan.run.fit_record) == record
    assert "TensorFlow computes on /device:CPU:0" in said
    assert any(line.startswith("Generation 1, iteration ") for line in said)
    assert said[-1].startswith("Trained generation 1 in ")
    *progress, end = reported
    assert [percent for percent, _ in progress] == sorted({percent for percent, _ in progress})
    assert progress[-1][1].startswith("iteration ")
    assert end == (100.0, "end")


@pytest.mark.usefixtures("watched_closely", "said")
@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()], ids=repr)
def test_no_engine_is_left_behind_when_the_task_ends(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    plan = make_plan(STANDIN_UNTIL=str(tmp_path / "never"))
    campaign, seen = Campaign(plan.campaign), []

    def update(percent: float, text: str) -> None:
        seen.extend(engines_of(campaign))
        raise error

    report = SimpleNamespace(update=update, end=lambda: None)
    monkeypatch.setattr("tasks.train.ProgressReport", lambda plan: report)
    with pytest.raises(type(error)):
        train.fn(plan)
    assert seen != []
    assert wait_for(lambda: not any(engine.is_running() for engine in seen), 10), "the engine outlived its task"
    assert engines_of(campaign) == []


def test_lines_of_bash_run_in_a_folder_with_an_environment(tmp_path: Path) -> None:
    lines = ["set -e", 'echo "$KEY $HOME" > "$PWD/told"', "exit 7"]
    with _in_shell_operation(lines, {"KEY": "a value"}, tmp_path) as process:
        assert process.wait() == 7
    assert (tmp_path / "told").read_text() == f"a value {os.environ['HOME']}\n"


def test_a_signal_is_told_as_a_negative_exit_code(tmp_path: Path) -> None:
    with _in_shell_operation(["kill -KILL $$"], {}, tmp_path) as process:
        assert process.wait() == -signal.SIGKILL


def test_an_operation_is_ended_with_its_context(tmp_path: Path) -> None:
    pids: list[int] = []

    def leave() -> None:
        with _in_shell_operation(["touch ready", "exec sleep 60"], {}, tmp_path) as process:
            assert wait_for((tmp_path / "ready").exists, 10)
            pids.append(process.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    (pid,) = pids
    assert wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 10)
