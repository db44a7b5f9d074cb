from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlip_train.pacemaker.devices import TELL_CALLBACK
from mlip_train.pacemaker.outcome import reason_it_stopped
from mlip_train.pacemaker.time_budget import DEADLINE, STOP_CALLBACK, USED_UP, stop_when_used_up

BEGIN = "2026-11-22 01:00:00,000 L - Cycle fitting loop\n"


def result(status: int) -> str:
    return f"2026 I - Optimization result(success=False, status={status}, message=so, nfev=9, njev=9)\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (BEGIN + result(0), "flat (the optimiser's own criterion)"),
        (BEGIN + result(1), "out of epochs"),
        (BEGIN + result(2), "flat (no step lowers the loss any more)"),
        (BEGIN + result(99), "flat (early stopping)"),
        (BEGIN + result(7), "status 7"),
        (BEGIN + f"{USED_UP}\n" + result(99), "out of time (fit.max_hours)"),
        (BEGIN + f"{USED_UP}\n" + result(99) + BEGIN + result(1), "out of epochs"),
        (BEGIN + result(1) + BEGIN + result(99), "flat (early stopping)"),
        (BEGIN + "nothing more\n", "ended"),
        ("", "ended"),
    ],
)
def test_the_log_tells_why_the_last_fit_ended(tmp_path: Path, log: str, reason: str) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert reason_it_stopped(tmp_path / "log.txt") == reason


def test_without_a_log_a_fit_just_ended(tmp_path: Path) -> None:
    assert reason_it_stopped(tmp_path / "log.txt") == "ended"


PROGRESS = {"basis_config": None, "current_fit_iteration": 3, "current_fit_cycle": 0, "current_ladder_step": 0}


def test_the_engine_finds_the_callbacks_by_the_names_in_its_input() -> None:
    # attribute by attribute, as it does, and in a process that has imported nothing else of ours
    look = f"import mlip_train; assert callable({STOP_CALLBACK}) and callable({TELL_CALLBACK})"
    subprocess.run([sys.executable, "-c", look], check=True)


@pytest.mark.parametrize("deadline", ["1", "1000000000.5"])
def test_a_fit_is_ended_once_its_time_is_used_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], deadline: str
) -> None:
    monkeypatch.setenv(DEADLINE, deadline)
    with pytest.raises(StopIteration):
        stop_when_used_up(**PROGRESS)
    assert capsys.readouterr().out == f"{USED_UP}\n"


@pytest.mark.parametrize("deadline", ["99999999999", None])
def test_a_fit_goes_on_while_there_is_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], deadline: str | None
) -> None:
    monkeypatch.delenv(DEADLINE, raising=False)
    if deadline is not None:
        monkeypatch.setenv(DEADLINE, deadline)
    stop_when_used_up(**PROGRESS)
    assert capsys.readouterr().out == ""
