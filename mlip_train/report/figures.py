"""Pictures of a fit and of what it made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from mlip_train.base.files import atomic_path
from mlip_train.records.checks import Panel
from mlip_train.records.potential import TrainingHistory

__all__ = ["draw_loss_curve", "draw_panel", "draw_panels", "plain"]

_COLUMNS: Final = 3
_STYLES: Final = {"line": "-", "dashed": "--", "points": "o"}
_LONGEST: Final = 28  # characters of a name in a legend
_LONGEST_TITLE: Final = 56
_HIGHEST: Final = 1000.0  # eV; no MD gets there
_TICKS: Final = (-1000, -300, -100, -30, -10, -3, 0, 3, 10, 30, 100, 300, 1000)  # eV


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
    figure.suptitle(plain(title, _LONGEST_TITLE))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def draw_panels(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draw panels as a PNG, up to three in a row."""
    figure = _figure_of(panels)
    FigureCanvasAgg(figure)
    figure.suptitle(plain(title, _LONGEST_TITLE))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _figure_of(panels: Sequence[Panel]) -> Figure:
    columns = max(1, min(len(panels), _COLUMNS))
    rows = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(max(5.0, 3.8 * columns), 3.4 * rows), layout="constrained")
    places = iter(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, axes in zip(panels, places, strict=False):
        draw_panel(axes, panel)
    for axes in places:
        axes.set_visible(False)
    return figure


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw one panel."""
    for curve in panel.curves:
        axes.plot(curve.x, curve.y, _STYLES[curve.style], markersize=4, label=plain(curve.label))
    for span in panel.spans:
        if span.begin == span.end:
            axes.axvline(span.begin, color="0.4", linestyle=":", linewidth=1.2, label=plain(span.label))
        else:
            axes.axvspan(span.begin, span.end, color="tab:orange", alpha=0.2, lw=0, label=plain(span.label))
    if panel.scale == "energy":
        _scale_energy(axes, [y for curve in panel.curves for y in curve.y])
    if all(float(x).is_integer() for curve in panel.curves for x in curve.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # what is counted has no halves
    title, x_label, y_label = (plain(text, _LONGEST_TITLE) for text in (panel.title, panel.x_label, panel.y_label))
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(visible=True, alpha=0.2)
    if len(panel.curves) + len(panel.spans) > 1:
        axes.legend(frameon=False)


def plain(name: str, longest: int = _LONGEST) -> str:
    """A name of other people's making, as text that matplotlib takes as it is."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return text.replace("$", r"\$")


def _scale_energy(axes: Axes, energies: Sequence[float]) -> None:
    """Linear near zero and logarithmic far from it, so that both the bond and the repulsion can be read."""
    axes.set_yscale("asinh", linear_width=3)
    axes.set_ylim(max(-_HIGHEST, min([-3.0, *energies])), min(_HIGHEST, max([3.0, *energies])))
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _scale(values: Sequence[float]) -> str:
    """Logarithmic where a decade is crossed; within one, its tick labels would be hard to read."""
    return "log" if min(values) > 0 and max(values) > 10 * min(values) else "linear"
