"""Pictures of a fit and of what it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, StrMethodFormatter

from mlip_train.files import atomic_path
from mlip_train.pair_curves import ALONE, PairCurve
from mlip_train.potential import TrainingHistory
from mlip_train.priors import SwitchRadii

__all__ = ["draw_dimer_curves", "draw_loss_curve"]

_HIGHEST: Final = 1000.0  # eV; no MD gets there
_TICKS: Final = (-1000, -100, -10, -3, 0, 3, 10, 100, 1000)  # eV


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


def draw_dimer_curves(
    curves: Sequence[PairCurve], switches: Mapping[str, SwitchRadii], title: str, path: Path
) -> None:
    """Draw the energy of two atoms over their distance, as a PNG with a panel for each pair of elements.

    Curves of atoms among others, whose energy has another zero, are moved so that they end on that of the two
    atoms alone.
    """
    by_pair = {curve.pair: curve for curve in curves if curve.where == ALONE}
    columns = min(len(by_pair), 3)
    rows = -(-len(by_pair) // columns)
    figure = Figure(figsize=(max(5.0, 3.8 * columns), 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = iter(figure.subplots(rows, columns, squeeze=False).flat)
    for (pair, alone), axes in zip(by_pair.items(), panels, strict=False):
        _draw_pair(axes, alone, [curve for curve in curves if curve.pair == pair and curve is not alone])
        if pair in switches:
            axes.axvspan(switches[pair].inner, switches[pair].outer, color="tab:orange", alpha=0.2, label="switch")
        axes.legend(frameon=False)
    for axes in panels:
        axes.set_visible(False)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_pair(axes: Axes, alone: PairCurve, among: Sequence[PairCurve]) -> None:
    axes.plot(alone.distances, alone.energies, label="two atoms alone")
    for curve in among:
        end = np.interp(curve.distances[-1], alone.distances, alone.energies) - curve.energies[-1]
        axes.plot(curve.distances, np.array(curve.energies) + end, "--", label="among others")
    axes.axvline(alone.edge, color="0.5", linestyle=":", linewidth=1.0, label="end of the data")
    # linear near zero, so that both the bond and the repulsion can be read
    axes.set_yscale("asinh", linear_width=3)
    axes.set_ylim(max(-_HIGHEST, min(-3.0, *alone.energies)), min(_HIGHEST, max(3.0, *alone.energies)))
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(title=alone.pair, xlabel="distance (Å)", ylabel="energy (eV)")
    axes.grid(visible=True, alpha=0.2)


def _scale(values: Sequence[float]) -> str:
    """Logarithmic where a decade is crossed; within one, its tick labels would be hard to read."""
    return "log" if min(values) > 0 and max(values) > 10 * min(values) else "linear"
