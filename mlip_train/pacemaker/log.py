"""The engine's log, which holds all attempts at a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["last_attempt"]

_BEGINS: Final = "Start pacemaker"  # said once per attempt


def last_attempt(log: Path) -> list[str]:
    """The lines of the newest attempt; none where there is no log."""
    if not log.exists():
        return []
    return log.read_text(errors="replace").rpartition(_BEGINS)[2].splitlines()
