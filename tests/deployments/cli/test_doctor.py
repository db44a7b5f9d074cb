from __future__ import annotations

import subprocess
from typing import Any

import pytest

from deployments.cli import doctor


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["numpy<1"], "numpy<1 (2."),
        (["no-such-package>=3"], "no-such-package>=3 (not installed)"),
        (["numpy>=2", "no-such-package; extra == 'gpu'"], "all 1 in versions known to work together"),
    ],
)
def test_packages_are_compared_with_what_the_project_asks_for(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], told: str
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: asked)
    finding = doctor._packages()
    assert told in finding.found
    assert finding.good is told.startswith("all")
    assert "make install" in finding.remedy


def test_an_engine_that_does_not_start_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback ...\nImportError: no matplotlib\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    finding = doctor._engine()
    assert not finding.good
    assert finding.found == "ImportError: no matplotlib"


def test_a_question_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("x", 300)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert not doctor._tensorflow().good
