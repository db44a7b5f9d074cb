"""The files that the engine writes into the directory it runs in, under the engine's own names."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EngineScratch"]


@dataclass(frozen=True)
class EngineScratch:
    """The engine's working directory."""

    root: Path

    @property
    def metrics(self) -> Path:
        """Training errors, a row per iteration."""
        return self.root / "metrics.txt"

    @property
    def test_metrics(self) -> Path:
        """Test errors, a row every few iterations."""
        return self.root / "test_metrics.txt"

    @property
    def target_potential(self) -> Path:
        """The full basis as it was before the fit."""
        return self.root / "target_potential.yaml"

    @property
    def output_potential(self) -> Path:
        """The fitted potential; written at the end, and sometimes without a fit."""
        return self.root / "output_potential.yaml"

    @property
    def train_predictions(self) -> Path:
        """What the trainer predicts for its own structures."""
        return self.root / "train_pred.pckl.gzip"

    def newest_interim(self) -> Path | None:
        """The interim potential written last; the engine rewrites it in place."""
        found = [path for path in self.root.glob("interim_potential_*.yaml") if path.stat().st_size > 0]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def renew(self) -> None:
        """Make it an empty directory: the engine appends to logs and reads what it finds."""
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
