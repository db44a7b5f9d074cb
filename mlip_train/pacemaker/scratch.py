"""The files that the engine writes into the directory it runs in, under the engine's own names."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mlip_train.base.named_file import NamedFile

__all__ = ["EngineScratch"]


@dataclass(frozen=True)
class EngineScratch:
    """The engine's working directory."""

    root: Path

    metrics = NamedFile("metrics.txt", "Training errors, a row per iteration", "the engine")
    test_metrics = NamedFile("test_metrics.txt", "Test errors, a row every few iterations", "the engine")
    target_potential = NamedFile("target_potential.yaml", "The full basis before the fit", "the engine")
    # written at the end, and sometimes without a fit
    output_potential = NamedFile("output_potential.yaml", "The fitted potential", "the engine")
    train_predictions = NamedFile("train_pred.pckl.gzip", "What the trainer predicts", "the engine")

    def newest_interim(self) -> Path | None:
        """The interim potential written last; the engine rewrites it in place."""
        found = [path for path in self.root.glob("interim_potential_*.yaml") if path.stat().st_size > 0]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def renew(self) -> None:
        """Make it an empty directory: the engine appends to logs and reads what it finds."""
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
