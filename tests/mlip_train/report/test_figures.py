"""Pictures of what checks found."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlip_train.records.checks import Curve, Panel, Span
from mlip_train.records.potential import TrainingHistory
from mlip_train.report.figures import draw_loss_curve, draw_panels


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *args: object, **keys: object) -> None:
        figures.append(figure)
        save(figure, *args, **keys)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def line(label: str = "one", *, style: str = "line", x: tuple[float, ...] = (0.5, 1.0)) -> Curve:
    return Curve(label=label, x=x, y=(0.0, 2.0), style=style)


def panel(*curves: Curve, **keys: object) -> Panel:
    return Panel(title="Si", x_label="time (ps)", y_label="energy (eV)", curves=curves or (line(),), **keys)


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 3)), (10, (4, 3))])
def test_panels_stand_three_in_a_row(tmp_path: Path, drawn: list[Figure], n: int, shape: tuple[int, int]) -> None:
    draw_panels([panel()] * n, "Generation 1", tmp_path / "panels.png")
    assert (tmp_path / "panels.png").read_bytes().startswith(b"\x89PNG")
    axes = drawn[0].axes
    assert sum(one.get_visible() for one in axes) == n
    assert len(axes) == shape[0] * shape[1]
    assert drawn[0].get_suptitle() == "Generation 1"


def test_a_campaign_called_like_a_formula_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    history = TrainingHistory(iteration=(0,), loss=(1.0,), energy_rmse=(1.0,), force_rmse=(1.0,))
    draw_panels([panel()], r"a$\frac$b", tmp_path / "panels.png")
    draw_loss_curve(history, r"a$\frac$b", tmp_path / "loss.png")
    assert [figure.get_suptitle() for figure in drawn] == [r"a\$\frac\$b"] * 2


def test_styles_spans_and_labels(tmp_path: Path, drawn: list[Figure]) -> None:
    curves = (line("a"), line("b", style="dashed"), line("c", style="points"))
    spans = (Span(label="switch", begin=0.6, end=0.8), Span(label="end", begin=0.9, end=0.9))
    draw_panels([panel(*curves, spans=spans), panel()], "", tmp_path / "panels.png")
    axes, plain = drawn[0].axes
    assert [(one.get_linestyle(), one.get_marker()) for one in axes.get_lines()] == [
        ("-", "None"), ("--", "None"), ("None", "o"), (":", "None"),
    ]  # fmt: skip
    assert legend(axes) == ["a", "b", "c", "switch", "end"]
    assert not axes.get_legend().get_frame_on()
    assert legend(plain) == []
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Si", "time (ps)", "energy (eV)")


def test_large_energies_do_not_hide_small_ones(tmp_path: Path, drawn: list[Figure]) -> None:
    curve = Curve(label="a", x=(1.0, 2.0), y=(5e4, 0.0))
    low = Curve(label="b", x=(1.0, 2.0), y=(-40.0, 0.0))
    draw_panels([panel(curve, scale="energy"), panel(curve, low, scale="energy")], "", tmp_path / "panels.png")
    assert [axes.get_yscale() for axes in drawn[0].axes] == ["asinh", "asinh"]
    assert [axes.get_ylim() for axes in drawn[0].axes] == [(-3.0, 1000.0), (-40.0, 1000.0)]


def test_what_is_counted_has_no_halves(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_panels([panel(line(x=(1.0, 3.0))), panel(line(x=(1.0, 3.5)))], "", tmp_path / "panels.png")
    counted, measured = ([tick % 1 for tick in axes.get_xticks()] for axes in drawn[0].axes)
    assert not any(counted)
    assert any(measured)


def test_nothing_to_draw_is_no_error(tmp_path: Path) -> None:
    draw_panels([], "Generation 1", tmp_path / "panels.png")
