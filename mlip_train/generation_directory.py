"""The files of one generation's run, each named once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GenerationDirectory", "generation_name"]


def generation_name(number: int) -> str:
    """What the files and folders of a generation are called after: gen_01, gen_02, ..."""
    return f"gen_{number:02d}"


@dataclass(frozen=True)
class GenerationDirectory:
    """Files of one generation's run."""

    root: Path

    @property
    def input_yaml(self) -> Path:
        """What the engine is asked to do."""
        return self.root / "input.yaml"

    @property
    def train_data(self) -> Path:
        """The structures that this fit learns from, in the engine's format."""
        return self.root / "train.pckl.gzip"

    @property
    def training_lock(self) -> Path:
        """Held by whoever trains this generation, on whatever machine."""
        return self.root / ".training.lock"

    @property
    def test_data(self) -> Path:
        """The fixed test set, in the engine's format."""
        return self.root / "test.pckl.gzip"

    @property
    def basis(self) -> Path:
        """The B-basis to fit, with what it takes over from the current potential."""
        return self.root / "basis.yaml"

    @property
    def selection(self) -> Path:
        """Which structures this fit learns from, and why."""
        return self.root / "selection.json"

    @property
    def active_set(self) -> Path:
        """The active set that the selection ended with, for the next one to go on from."""
        return self.root / "active_set.npz"

    @property
    def inverse_active_set(self) -> Path:
        """The active set of the fitted potential, as evaluators of extrapolation grades read it."""
        return self.root / "fitted_potential.asi"

    @property
    def start_potential(self) -> Path:
        """The B-basis that the fit continues from, when it does not start from zeros."""
        return self.root / "start_potential.yaml"

    @property
    def start_curvature(self) -> Path:
        """The curvature of the loss at a linear start, for the optimiser to begin with."""
        return self.root / "start_curvature.npy"

    @property
    def interim_potential(self) -> Path:
        """The newest good potential of a fit that has not ended."""
        return self.root / "interim_potential.yaml"

    @property
    def interim_record(self) -> Path:
        """What the interim potential belongs to and how far it came."""
        return self.root / "interim_potential.json"

    @property
    def scratch(self) -> Path:
        """Where the engine runs; removed when the generation is published."""
        return self.root / "scratch"

    @property
    def log(self) -> Path:
        """Everything the engine printed, of all attempts."""
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        """Training errors per iteration, as the engine wrote them."""
        return self.root / "metrics.txt"

    @property
    def test_metrics(self) -> Path:
        """Test errors every few iterations, as the engine wrote them."""
        return self.root / "test_metrics.txt"

    @property
    def fit_record(self) -> Path:
        """What a finished fit came to; its presence spares fitting again."""
        return self.root / "fit.json"

    @property
    def fitted_potential(self) -> Path:
        """The potential that the fit ended with (B-basis)."""
        return self.root / "fitted_potential.yaml"

    @property
    def deployed_potential(self) -> Path:
        """The same, closed at short distance by the reference potential (B-basis)."""
        return self.root / "deployed_potential.yaml"

    @property
    def exported_potential(self) -> Path:
        """The deployed potential in the form that MD codes read."""
        return self.root / "deployed_potential.yace"

    @property
    def train_predictions(self) -> Path:
        """What the trainer itself predicts for its structures."""
        return self.root / "train_pred.pckl.gzip"

    @property
    def loss_curve(self) -> Path:
        """Picture of the loss over the iterations."""
        return self.root / "loss_curve.png"

    @property
    def residuals_on_train(self) -> Path:
        """What the potential predicts for the structures that it learned from, beside DFT."""
        return self.root / "residuals_train.parquet"

    @property
    def residuals_on_test(self) -> Path:
        """The same for the fixed test set."""
        return self.root / "residuals_test.parquet"

    @property
    def residuals_of_parent(self) -> Path:
        """What the parent predicts for the same test set."""
        return self.root / "residuals_parent_test.parquet"

    @property
    def residuals_on_new(self) -> Path:
        """What the parent predicts for the structures that this generation brought."""
        return self.root / "residuals_parent_new.parquet"

    def check_picture(self, name: str) -> Path:
        """Picture of what a check found."""
        return self.root / f"check_{name}.png"

    def member(self, number: int) -> GenerationDirectory:
        """The run of a member of the generation's committee, with files of the same names."""
        return GenerationDirectory(self.root / "committee" / f"member_{number:02d}")

    @property
    def members(self) -> list[GenerationDirectory]:
        """The runs of all members that were ever begun."""
        return [GenerationDirectory(root) for root in sorted(self.root.glob("committee/member_*"))]

    def remove_scratch(self) -> None:
        """Remove where the engine ran, for the generation and its members."""
        for run in (self, *self.members):
            if run.scratch.exists():
                shutil.rmtree(run.scratch)

    @property
    def report(self) -> Path:
        """What a person reads about the generation."""
        return self.root / "report.html"

    def rejected_bundle(self, attempt: int) -> Path:
        """Where a rejected bundle is kept when the generation is trained again."""
        return self.root / f"rejected_{attempt}"

    @property
    def plan(self) -> Path:
        """What this fit is: resolved configuration, start, sizes."""
        return self.root / "plan.json"
