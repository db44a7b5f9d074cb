"""Pictures of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlip_train.files import atomic_path
from mlip_train.potential import TrainingHistory

__all__ = ["draw_loss_curve"]


def draw_loss_curve(history: TrainingHistory, title: str, path: Path) -> None:
    """Draw loss and force error over the iterations as a PNG."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, force = figure.subplots(1, 2)
    marker = "o" if len(history.iteration) == 1 else None  # a linear solution has no course
    loss.plot(history.iteration, history.loss, marker=marker, label="training")
    if history.test_iteration:
        loss.plot(history.test_iteration, history.test_loss, "o--", markersize=3, label="test")
    loss.set(xlabel="iteration", ylabel="loss", yscale=_scale(history.loss))
    loss.legend(frameon=False)
    force.plot(history.iteration, history.force_rmse, marker=marker, color="tab:green")
    force.set(xlabel="iteration", ylabel="force RMSE, training (meV/Å)", yscale=_scale(history.force_rmse))
    for axes in (loss, force):
        axes.grid(visible=True, which="both", alpha=0.2)
        if marker:
            axes.set_xticks(history.iteration)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _scale(values: Sequence[float]) -> str:
    """Logarithmic where a decade is crossed; within one, its tick labels would be hard to read."""
    return "log" if min(values) > 0 and max(values) > 10 * min(values) else "linear"
