"""Batches of a campaign, and what a generation chooses among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlip_train.campaign.campaign import Campaign
from mlip_train.fit.selection import select_structures
from mlip_train.fit.starting import lay_basis
from mlip_train.intake.accumulation import accumulate
from mlip_train.records.selection import Selection
from tests.mlip_train.alloys import aluminium, aluminium_nickel, write_frames
from tests.mlip_train.planning import edit

__all__ = ["add", "ids_of", "rule", "select"]


def add(campaign: Campaign, n: int, folder: Path, seed: int = 0) -> int:
    """Add a batch; return its generation."""
    frames = aluminium(n, seed) if campaign.config.elements == ("Al",) else aluminium_nickel(n, seed)
    generation = accumulate(campaign, [write_frames(folder / f"batch_{seed}.traj", frames)]).generation
    assert generation is not None
    return generation


def rule(campaign: Campaign, **values: Any) -> None:
    """Let it choose by maxvol."""
    edit(campaign, active_set={"method": "maxvol"} | values)


def select(campaign: Campaign, generation: int) -> Selection:
    """Choose the structures of a generation."""
    return select_structures(lay_basis(campaign, generation))


def ids_of(campaign: Campaign, generation: int) -> list[str]:
    """What was chosen."""
    content = json.loads(campaign.generation(generation).selection.read_text())
    return list(content["structures"])
