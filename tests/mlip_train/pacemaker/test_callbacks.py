from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mlip_train.pacemaker.callbacks import DEADLINE, STOP_CALLBACK, TELL_CALLBACK, USED_UP, stop_when_used_up


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
