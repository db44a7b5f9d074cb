from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in engine ends before the usual five seconds between two looks have passed."""
    monkeypatch.setattr("mlip_train.pacemaker.supervision._REPORT_EVERY", 1.0)
