from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlip_train.pacemaker import callbacks
from mlip_train.pacemaker.callbacks import (
    DEADLINE,
    STOP_CALLBACK,
    TELL_CALLBACK,
    USED_UP,
    stop_when_used_up,
    tell_devices,
)
from mlip_train.pacemaker.log import devices_in_log


@pytest.mark.parametrize("name", [STOP_CALLBACK, TELL_CALLBACK])
def test_the_engine_finds_a_callback_as_an_attribute_of_the_top_package(name: str) -> None:
    package, *rest = name.split(".")
    looked_up = (
        f"import {package} as found\nfor part in {rest}: found = getattr(found, part)\nassert callable(found)"
    )
    subprocess.run([sys.executable, "-c", looked_up], check=True)


def test_a_fit_is_ended_when_its_time_is_used_up_and_not_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(DEADLINE, raising=False)
    stop_when_used_up(current_fit_iteration=0)
    monkeypatch.setenv(DEADLINE, str(time.time() + 60))
    stop_when_used_up(current_fit_iteration=0)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv(DEADLINE, str(time.time() - 1))
    with pytest.raises(StopIteration):
        stop_when_used_up(current_fit_iteration=0)
    assert capsys.readouterr().out == f"{USED_UP}\n"


def test_the_engine_finds_the_callback_by_the_name_in_its_input() -> None:
    module, _, name = STOP_CALLBACK.rpartition(".")
    assert getattr(importlib.import_module(module), name) is stop_when_used_up


PROGRESS = {"basis_config": None, "current_fit_iteration": 3, "current_fit_cycle": 0, "current_ladder_step": 0}


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


@pytest.fixture
def _told_anew() -> Iterator[None]:
    callbacks._tell_once.cache_clear()
    yield
    callbacks._tell_once.cache_clear()


@pytest.mark.usefixtures("_told_anew")
def test_an_engine_without_tensorflow_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    tell_devices(current_fit_iteration=0)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_told_anew")
def test_the_engine_says_once_what_it_computes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [SimpleNamespace(name="/device:CPU:0"), SimpleNamespace(name="/device:GPU:0")]
    fake = SimpleNamespace(config=SimpleNamespace(list_logical_devices=lambda: names))
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    tell_devices(current_fit_iteration=0)
    tell_devices(current_fit_iteration=1)
    log = tmp_path / "log.txt"
    told = capsys.readouterr().out
    assert told.count("computes on") == 1
    earlier = told.replace("GPU", "TPU")  # of an attempt that was interrupted
    log.write_text(f"something\n{earlier}{told}more\n")
    assert devices_in_log(log) == "/device:CPU:0, /device:GPU:0"
    assert devices_in_log(tmp_path / "none.txt") is None
