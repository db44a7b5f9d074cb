"""The gate's own line in the log of a run."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mlip_train.records.verdict import Verdict
from tasks import steps


@pytest.mark.parametrize(
    ("verdict", "level", "said"),
    [
        (Verdict(accepted=True, notes=("so few cannot tell",)), "INFO", "Gate: accepted"),
        (
            Verdict(accepted=False, reasons=("it melts",)),
            "WARNING",
            "Gate: rejected; this run ends with the reason",
        ),
    ],
    ids=["accepted", "rejected"],
)
def test_a_verdict_has_its_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, verdict: Verdict, level: str, said: str
) -> None:
    monkeypatch.setattr(steps, "get_run_logger", lambda: logging.getLogger("run"))
    monkeypatch.setattr(steps.gate, "judge", lambda *of: verdict)
    plan = SimpleNamespace(config=SimpleNamespace(gate=None))
    with caplog.at_level(logging.INFO, logger="run"):
        assert steps.judge.fn(plan, None, ()) is verdict
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines[0] == (level, said)
    assert lines[1:] == [("WARNING", f"The gate noted: {note}") for note in verdict.notes]
