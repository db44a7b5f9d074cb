"""Pictures of the pages, as SVG that stands in the page itself: one plot each, so that a phone can stack them."""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlip_train.records.checks import Panel
from mlip_train.report import figures
from mlip_train.report.figures import plain
from mlip_train.report.residual_sample import Histogram

__all__ = [
    "BLUE",
    "ORANGE",
    "SHOWN_AS_PIXELS",
    "Picture",
    "draw",
    "draw_distribution",
    "draw_grades",
    "draw_lines",
    "draw_panel",
    "draw_parity",
]

# Okabe and Ito's, which also the colour-blind tell apart; their yellow is too light for white paper
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, "#000000")
_SIZE: Final = (4.2, 3.1)  # inches
_MANY: Final = 100  # in one bar
_MARGIN: Final = 0.04  # of the values, around them
SHOWN_AS_PIXELS: Final = 2000  # points from which on a scatter would make the page heavy
_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text, in the font of the page
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}
_NO_METADATA: Final = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_REFERENCES: Final = re.compile(r'((?<=[ <])(?:id|xlink:href)="#?|url\(#)(?!data:)')


class Picture(NamedTuple):
    """A drawing and what it shows."""

    svg: Markup
    caption: str


def draw(name: str, caption: str, onto: Callable[[Axes], None]) -> Picture:
    """Draw one plot; the name is unique in the page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE, layout="constrained", dpi=160)
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        onto(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    # without matplotlib's header; names within are made those of this picture, since all share one page
    inside = _REFERENCES.sub(rf"\g<1>{name}-", stream.getvalue().partition("<svg")[2])
    label_of_axes = escape(f"{axes.get_ylabel()} over {axes.get_xlabel()}".replace(r"\$", "$"))
    return Picture(Markup(f'<svg role="img" aria-label="{label_of_axes}"{inside}'), caption)  # noqa: S704 (it escapes)


def draw_panel(name: str, panel: Panel) -> Picture:
    """Draw what a check looked at; its title says what it is."""
    return draw(name, "", lambda axes: figures.draw_panel(axes, panel))


def draw_lines(
    name: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], str]],
    labels: tuple[str, str],
) -> Picture:
    """Draw y over x: for each label of a line its x, its y and matplotlib's style."""

    def onto(axes: Axes) -> None:
        for number, (label, (x, y, style)) in enumerate(lines.items()):
            axes.plot(x, y, "o" if len(x) == 1 else style, color=_colour(number), label=label)
        axes.set(xlabel=labels[0], ylabel=labels[1], yscale=_scale([v for _, y, _ in lines.values() for v in y]))
        _legend(axes)

    return draw(name, "", onto)  # its axes say what it is


def draw_parity(
    name: str, caption: str, groups: Mapping[str, NDArray[np.floating[Any]]], labels: tuple[str, str]
) -> Picture:
    """Draw predicted over DFT values, shape (n, 2) for each group."""

    def onto(axes: Axes) -> None:
        heavy = sum(map(len, groups.values())) > SHOWN_AS_PIXELS
        for number, (group, pairs) in enumerate(_few(groups).items()):
            shown: dict[str, Any] = {
                "color": _colour(number),
                "label": plain(group),
                "alpha": 0.6,
                "linewidths": 0,
            }
            axes.scatter(pairs[:, 0], pairs[:, 1], s=5 if heavy else 12, rasterized=heavy, **shown)
        low, high = min(pairs.min() for pairs in groups.values()), max(pairs.max() for pairs in groups.values())
        margin = _MARGIN * max(high - low, 1e-3)
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color="0.35", linewidth=0.8, zorder=0)
        axes.set(xlabel=labels[0], ylabel=labels[1], xlim=ends, ylim=ends)
        _legend(axes, markerscale=2 if heavy else 1)

    return draw(name, caption, onto)


def draw_distribution(name: str, caption: str, histogram: Histogram, labels: tuple[str, str]) -> Picture:
    """Draw how often which error occurs; where there are many, so that the few large ones can be seen, too."""

    def onto(axes: Axes) -> None:
        axes.stairs(histogram.counts, histogram.edges, fill=True, color=BLUE, alpha=0.75)
        axes.axvline(0, color="0.35", linewidth=0.8)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        if histogram.counts.max() > _MANY:
            axes.set(yscale="log", ylim=(0.7, None))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(name, caption, onto)


def draw_grades(name: str, caption: str, gamma: Sequence[float]) -> Picture:
    """Draw the distribution of extrapolation grades; where they span decades, over their logarithm."""

    def onto(axes: Axes) -> None:
        low, high = min(gamma), max(1.05, *gamma)
        is_wide = high > 10 and low > 0
        edges = np.geomspace(low, high, 41) if is_wide else np.linspace(0, high, 41)
        axes.hist(gamma, bins=edges.tolist(), color=BLUE, alpha=0.75)
        axes.axvline(1.0, color=ORANGE, linestyle=":", label="edge of what was learned")
        axes.set(xlabel="largest extrapolation grade in a structure", ylabel="structures")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if is_wide:
            axes.set_xscale("log")
        axes.legend()

    return draw(name, caption, onto)


def _few(groups: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.floating[Any]]]:
    """As many groups as there are colours, the largest ones; what is left becomes one of them."""
    largest = sorted(groups, key=lambda name: -len(groups[name]))
    if len(largest) <= len(_COLOURS):
        return {name: groups[name] for name in largest}
    kept = {name: groups[name] for name in largest[: len(_COLOURS) - 1]}
    return {**kept, "all others": np.concatenate([groups[name] for name in largest[len(kept) :]])}


def _legend(axes: Axes, **options: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.legend(handles, labels, **options)


def _scale(values: Iterable[float]) -> str:
    """Logarithmic where a decade is crossed; within one, its tick labels would be hard to read."""
    known = list(values)
    return "log" if min(known) > 0 and max(known) > 10 * min(known) else "linear"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
