from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mlip_train.pacemaker.metrics import ProgressClock, place_on, read_metrics

HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"
ROW = "0           0          0        0.5 0.0123 0.456 60\n"


def test_a_growing_file_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.txt"
    assert read_metrics(path).empty
    for text, rows in [("", 0), ("ladder_st", 0), (HEADER, 0), (HEADER + ROW, 1), (HEADER + ROW + "0 0 1 0.4", 1)]:
        path.write_text(text)
        assert len(read_metrics(path)) == rows
    path.write_text(HEADER + ROW + "0 0 1 nan nan nan 60\n")
    assert len(read_metrics(path)) == 2


def test_progress_has_units_of_people_and_an_estimated_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 104.0])
    monkeypatch.setattr("mlip_train.pacemaker.metrics.time", SimpleNamespace(monotonic=lambda: next(times)))
    path = tmp_path / "metrics.txt"
    clock = ProgressClock(most_iterations=10)
    assert clock.progress(read_metrics(path)) is None

    path.write_text(HEADER + ROW)
    first = clock.progress(read_metrics(path))
    path.write_text(HEADER + 3 * ROW)
    second = clock.progress(read_metrics(path))

    assert first is not None
    assert second is not None
    assert first.seconds_left is None
    assert (second.iteration, second.energy_rmse, second.force_rmse) == (2, 12.3, 456.0)
    assert second.percent == pytest.approx(20.0)
    assert second.seconds_per_iteration == pytest.approx(2.0)
    assert second.seconds_left == pytest.approx(16.0)
    assert str(second).startswith("iteration 2/10: loss 0.5, RMSE 12.3 meV/atom, 456 meV/Å")


def test_a_loss_that_is_not_a_number_can_be_reported(tmp_path: Path) -> None:
    (tmp_path / "metrics.txt").write_text(HEADER + "0 0 0 nan nan nan 60\n")
    assert "loss nan" in str(ProgressClock(5).progress(read_metrics(tmp_path / "metrics.txt")))


def test_test_rows_find_their_place_in_a_ladder(tmp_path: Path) -> None:
    rows = [(step, 0, number) for step in (0, 1) for number in range(3)]
    for name, keys in {
        "metrics.txt": rows,
        "test_metrics.txt": [(0, 0, 0), (0, 0, 3), (1, 0, 0), (1, 0, 2)],
    }.items():
        lines = "".join(f"{a} {b} {c} 0.5 0.1 0.4 60\n" for a, b, c in keys)
        (tmp_path / name).write_text(HEADER + lines)
    placed = place_on(read_metrics(tmp_path / "metrics.txt"), read_metrics(tmp_path / "test_metrics.txt"))
    assert placed == [0, None, 3, 5]
