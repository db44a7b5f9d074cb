"""Parameters that several flows have, as the form of the UI explains them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

__all__ = ["CampaignDirectory", "DataSources"]

CampaignDirectory = Annotated[Path, Field(description="Directory of the campaign (made by `mlip-train init`).")]
DataSources = Annotated[
    list[str | Path], Field(description="DFT results: files that ASE can read, folders of them, or glob patterns.")
]
