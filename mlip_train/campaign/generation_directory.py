"""The files of one generation's run: each named once, with what it is and the one module that writes it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mlip_train.base.named_file import NamedFile

__all__ = ["GenerationDirectory", "generation_name"]


def generation_name(number: int) -> str:
    """What the files and folders of a generation are called after: gen_01, gen_02, ..."""
    return f"gen_{number:02d}"


@dataclass(frozen=True)
class GenerationDirectory:
    """Files of one generation's run, or of that of a member of its committee."""

    root: Path

    basis = NamedFile("basis.yaml", "B-basis to fit, with what it takes over from the parent", "fit.starting")
    selection = NamedFile("selection.json", "Which structures the fit learns from, and why", "fit.selection")
    active_set = NamedFile("active_set.npz", "Active set, for the next selection to go on from", "fit.choice")
    plan = NamedFile("plan.json", "What the fit is: configuration, parent, start, sizes", "fit.planning")
    start_potential = NamedFile("start_potential.yaml", "B-basis that the fit begins with", "fit.starting")
    start_curvature = NamedFile("start_curvature.npy", "Curvature of the loss at a linear start", "fit.starting")
    train_data = NamedFile("train.pckl.gzip", "Structures of the fit, in the engine's format", "fit.planning")
    test_data = NamedFile("test.pckl.gzip", "The fixed test set, in the engine's format", "fit.planning")
    input_yaml = NamedFile("input.yaml", "What the engine is asked to do", "fit.planning")

    training_lock = NamedFile(".training.lock", "Held by whoever trains, on whatever machine", "fit.training")
    scratch = NamedFile("scratch", "Where the engine runs; removed when published", "pacemaker.supervision")
    log = NamedFile("log.txt", "Everything the engine printed, of all attempts", "pacemaker.supervision")
    interim_potential = NamedFile("interim_potential.yaml", "Newest good potential of a fit", "pacemaker.interim")
    interim_record = NamedFile("interim_potential.json", "To which fit it belongs", "pacemaker.interim")
    metrics = NamedFile("metrics.txt", "Training errors per iteration", "fit.training")
    test_metrics = NamedFile("test_metrics.txt", "Test errors every few iterations", "fit.training")
    train_predictions = NamedFile("train_pred.pckl.gzip", "What the trainer predicts", "fit.training")
    fitted_potential = NamedFile("fitted_potential.yaml", "B-basis that the fit ended with", "fit.training")
    fit_record = NamedFile("fit.json", "What the fit came to; spares fitting again", "fit.training")

    # named before potentials were said to be closed and exported
    closed_potential = NamedFile("deployed_potential.yaml", "Closed at short distance, B-basis", "fit.closing")
    exported_potential = NamedFile("deployed_potential.yace", "The same, for MD codes", "fit.closing")
    inverse_active_set = NamedFile("fitted_potential.asi", "Active set, for extrapolation grades", "fit.grading")

    residuals_on_train = NamedFile(
        "residuals_train.parquet", "Predictions beside DFT, training", "assess.measuring"
    )
    residuals_on_test = NamedFile("residuals_test.parquet", "Predictions beside DFT, test set", "assess.measuring")
    residuals_of_parent = NamedFile("residuals_parent_test.parquet", "The parent's, test set", "assess.measuring")
    residuals_on_new = NamedFile(
        "residuals_parent_new.parquet", "The parent's, on what is new", "assess.measuring"
    )

    loss_curve = NamedFile("loss_curve.png", "Loss over the iterations", "report.figures")
    report = NamedFile("report.html", "What a person reads about the generation", "report.generation_page")

    @classmethod
    def files(cls) -> dict[str, NamedFile]:
        """The description of every file, by its name here."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, NamedFile)}

    def check_picture(self, name: str) -> Path:
        """Picture of what a check found; written by `report.figures`."""
        return self.root / f"check_{name}.png"

    def rejected_bundle(self, attempt: int) -> Path:
        """Where a rejected bundle is kept when the generation is trained again; by `potential.potential`."""
        return self.root / f"rejected_{attempt}"

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
