from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyace.activelearning import compute_active_set, load_active_inverse_set

from mlip_train.ace.active_set import ActiveSet
from mlip_train.errors import CorruptFileError


def rows_of(n: int, functions: int = 12, seed: int = 0, rank: int | None = None) -> NDArray[np.float64]:
    """Correlated rows of very different sizes, as projections are."""
    random = np.random.default_rng(seed)
    rank = rank or functions
    return random.normal(size=(n, rank)) @ random.normal(size=(rank, functions)) * np.logspace(0, -4, functions)


def members_of(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def spanning(rows: NDArray[np.float64], tolerance: float = 1.01, pieces: int = 1, passes: int = 8) -> ActiveSet:
    active = ActiveSet({"Al": rows.shape[1]}, tolerance)
    names = np.array(members_of(len(rows)))
    for _ in range(passes):
        for part in np.array_split(np.arange(len(rows)), pieces):
            active.offer({"Al": rows[part]}, {"Al": names[part].tolist()})
    return active


def engines_log_volume(rows: NDArray[np.float64], tolerance: float) -> float:
    return float(np.linalg.slogdet(compute_active_set({0: rows}, tol=tolerance)[0])[1])


def largest_grade(active: ActiveSet, rows: NDArray[np.float64]) -> float:
    return float(active.grader()({"Al": rows})["Al"].max())


@pytest.mark.parametrize("tolerance", [1.001, 1.01, 1.5])
def test_the_volume_of_rows_offered_at_once_is_at_least_that_of_the_engine(tolerance: float) -> None:
    for seed in range(6):
        rows = rows_of(200, seed=seed)
        assert spanning(rows, tolerance).log_volume()["Al"] >= engines_log_volume(rows, tolerance) - 1e-9


@pytest.mark.parametrize("pieces", [7, 40])
def test_the_volume_of_rows_offered_in_pieces_is_no_worse_than_the_engines_of_all(pieces: int) -> None:
    # both end where no single swap helps, which is not the same place; neither is the better one in general
    sets = [rows_of(200, seed=seed) for seed in range(12)]
    gains = [spanning(rows, 1.01, pieces).log_volume()["Al"] - engines_log_volume(rows, 1.01) for rows in sets]
    assert np.mean(gains) > -0.1
    assert min(gains) > -1


@pytest.mark.parametrize("pieces", [1, 7, 40])
@pytest.mark.parametrize("seed", range(4))
def test_all_offered_rows_are_spanned_however_they_come(seed: int, pieces: int) -> None:
    rows = rows_of(150, seed=seed)
    active = spanning(np.random.default_rng(seed).permutation(rows), pieces=pieces)
    assert active.missing() == {}
    assert largest_grade(active, rows) <= 1.01 + 1e-6
    assert largest_grade(active, 3 * rows) > 2


def test_rows_of_the_active_set_are_offered_rows_of_the_structures_they_name(tmp_path: Path) -> None:
    rows = rows_of(60)
    active = spanning(rows, pieces=5)
    active.save(tmp_path / "a.npz", "f")
    with np.load(tmp_path / "a.npz") as stored:
        matrix, scale, members = stored["Al.matrix"], stored["Al.scale"], stored["Al.members"]
    for row, member in zip(matrix * scale, members, strict=True):
        assert np.allclose(row, rows[int(member[1:])], rtol=1e-9)
    assert sum(active.active_atoms().values()) == 12


def test_fewer_rows_than_functions_are_all_taken_and_the_rest_told() -> None:
    rows = rows_of(5)
    active = spanning(rows)
    assert active.missing() == {"Al": 7}
    assert set(active.active_atoms()) == set(members_of(5))
    assert largest_grade(active, rows) <= 1.01
    assert largest_grade(active, rows_of(5, seed=9)) > 1.01


def test_rows_that_are_all_alike_leave_one_active_and_the_others_told() -> None:
    rows = np.repeat(rows_of(1), 30, axis=0)
    active = spanning(rows)
    assert active.missing() == {"Al": 11}
    assert len(active.active_atoms()) == 1
    assert largest_grade(active, rows) <= 1.01


def test_directions_that_no_row_has_are_told_and_graded_as_extrapolation() -> None:
    rows = rows_of(100, rank=8)
    active = spanning(rows, pieces=4)
    assert active.missing() == {"Al": 4}
    assert largest_grade(active, rows) <= 1.01 + 1e-6
    assert largest_grade(active, rows_of(20, seed=5)) > 5


def test_a_function_that_is_zero_everywhere_is_told_and_no_obstacle() -> None:
    rows = rows_of(100)
    rows[:, 3] = 0
    active = spanning(rows)
    assert active.missing() == {"Al": 1}
    assert largest_grade(active, rows) <= 1.01 + 1e-6


def test_an_element_without_any_atom_is_told_and_its_atoms_are_unknown(tmp_path: Path) -> None:
    active = ActiveSet({"Al": 12, "Ni": 4}, 1.01)
    rows = rows_of(40)
    active.offer({"Al": rows, "Ni": np.empty((0, 4))}, {"Al": members_of(40), "Ni": []})
    assert active.missing() == {"Ni": 4}
    assert np.isinf(active.grader()({"Ni": rows_of(2, 4)})["Ni"]).all()
    active.write_asi(tmp_path / "a.asi")
    inverses = load_active_inverse_set(tmp_path / "a.asi")
    assert inverses[1].shape == (4, 4)
    assert np.isfinite(inverses[1]).all()


def test_an_offer_tells_the_largest_grade_before_it_was_taken_in() -> None:
    rows = rows_of(100)
    active = spanning(rows)
    grade = largest_grade(active, 4 * rows[:1])
    (told,) = active.offer({"Al": 4 * rows[:1]}, {"Al": ["new"]}).values()
    assert told == pytest.approx(grade, rel=1e-6)


def test_what_is_saved_is_read_back_the_same_and_goes_on(tmp_path: Path) -> None:
    rows = rows_of(150)
    active = spanning(rows[:100])
    active.covers = 3
    active.save(tmp_path / "a.npz", "this basis")
    again = ActiveSet.load(tmp_path / "a.npz", "this basis")
    assert again is not None
    assert (again.tolerance, again.covers, again.n_functions) == (1.01, 3, {"Al": 12})
    assert again.log_volume() == pytest.approx(active.log_volume())
    assert again.active_atoms() == active.active_atoms()
    for _ in range(4):
        again.offer({"Al": rows[100:]}, {"Al": [f"t{i}" for i in range(50)]})
    assert largest_grade(again, rows[100:]) <= 1.01 + 1e-6
    assert largest_grade(again, rows) < 1.25  # rows offered before are not looked at again
    assert again.log_volume()["Al"] >= active.log_volume()["Al"]


def test_the_rows_of_another_basis_are_not_gone_on_with(tmp_path: Path) -> None:
    spanning(rows_of(30)).save(tmp_path / "a.npz", "this basis")
    assert ActiveSet.load(tmp_path / "a.npz", "another basis") is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"not a zip"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.npz is not a readable active set"):
        ActiveSet.load(tmp_path / "a.npz", "f")


def test_the_inverse_is_that_of_the_active_rows(tmp_path: Path) -> None:
    rows = rows_of(100)
    active = spanning(rows, pieces=3)
    active.write_asi(tmp_path / "a.asi")
    inverse = load_active_inverse_set(tmp_path / "a.asi")[0]
    assert np.abs(rows @ inverse).max(axis=1) == pytest.approx(active.grader()({"Al": rows})["Al"])
    coordinates = np.linalg.inv(inverse) @ inverse
    assert np.allclose(coordinates, np.eye(12), atol=1e-6)


def test_the_set_keeps_no_more_rows_than_a_few_per_function() -> None:
    active = spanning(rows_of(4000), pieces=50, passes=1)
    (kept,) = active._elements.values()
    assert len(kept.matrix) + len(kept.reserve) <= 5 * 12
