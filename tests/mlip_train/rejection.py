"""Generations that the gate, or a person, rejects, and processes that die."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.accumulation import accumulate
from mlip_train.potential.potential import Potential
from mlip_train.records.verdict import Decision, Verdict
from tests.mlip_train.planning import publish_linear

__all__ = ["BAD", "add", "copied", "crash_at", "decision"]

BAD: Final = Verdict(accepted=False, reasons=("the force RMSE is too large",))


def decision(accepted: bool, why: str = "") -> Decision:
    """What a person decides."""
    return Decision(accepted=accepted, by="me@here", when=datetime.now(UTC), why=why)


def add(campaign: Campaign, batch: Path, verdict: Verdict | None = None) -> Potential:
    """Train a generation, which the gate lets pass or not."""
    generation = accumulate(campaign, [batch]).generation
    assert generation is not None
    with pytest.MonkeyPatch.context() as patch:
        if verdict:
            patch.setattr("tests.mlip_train.planning.judge", lambda *args: verdict)
        return publish_linear(campaign, generation)


def crash_at(step: int, act: Callable[[], object]) -> None:
    """Let a process die at a step that changes the file system: nothing happens any more."""
    calls = count()

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **keys: Any) -> Any:
            if next(calls) >= step:
                raise KeyboardInterrupt
            return real(*args, **keys)

        return change

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "copyfile")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        act()


def copied(campaign: Campaign, root: Path) -> Campaign:
    """A copy that may be broken."""
    shutil.copytree(campaign.root, root)
    return Campaign(root)
