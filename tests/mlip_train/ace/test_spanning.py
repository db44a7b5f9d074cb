from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import joblib
import numpy as np
import pytest
from ase import Atoms
from pyace.activelearning import compute_active_set, compute_B_projections

from mlip_train.ace import spanning
from mlip_train.ace.active_set import ActiveSet
from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.library import PyACECalculator
from mlip_train.ace.projections import Projector
from mlip_train.ace.spanning import projection_fingerprint, rank, span
from mlip_train.atoms.structure import Structure
from mlip_train.base import parallel
from mlip_train.base.parallel import CHUNK
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.bbasis import config_of, tune, write_random
from tests.mlip_train.coefficients import first_density, set_first_density

TWO = config_of(["Al", "Ni"], functions_per_element=12)


@pytest.fixture
def alloy(tmp_path: Path) -> Path:
    return write_random(tmp_path / "alloy.yaml", TWO)


def spanned(bbasis: Path, structures: list[Structure], tolerance: float = 1.01) -> ActiveSet:
    active = ActiveSet(Projector(bbasis).n_functions, tolerance)
    left = span(active, bbasis, lambda: structures).left
    assert max(left.values()) <= tolerance
    return active


def grades_by_the_engine(bbasis: Path, active: ActiveSet, structures: list[Structure]) -> list[np.ndarray]:
    """Extrapolation grades per atom, by the calculator that users have."""
    asi = bbasis.with_suffix(".asi")
    active.write_asi(asi)
    calculator = PyACECalculator(str(bbasis))
    calculator.set_active_set(str(asi))
    grades = []
    for structure in structures:
        calculator.calculate(structure.to_atoms())
        grades.append(np.array(calculator.results["gamma"]))
    return grades


def test_all_training_atoms_are_inside_and_what_is_unlike_them_outside(alloy: Path) -> None:
    structures = checked(aluminium_nickel(40))
    active = spanned(alloy, structures)
    assert max(grades.max() for grades in grades_by_the_engine(alloy, active, structures)) <= 1.01
    squeezed = []
    for atoms in aluminium_nickel(4, seed=9):
        atoms.set_cell(atoms.cell * 0.75, scale_atoms=True)
        squeezed.append(atoms)
    assert min(grades.max() for grades in grades_by_the_engine(alloy, active, checked(squeezed))) > 1


def test_the_volume_is_that_of_the_engine_or_larger_on_real_data(tmp_path: Path, silicon: list[Atoms]) -> None:
    bbasis = write_random(tmp_path / "si.yaml", config_of(["Si"], functions_per_element=12))
    structures = checked(silicon)
    active = spanned(bbasis, structures)
    theirs = compute_active_set(
        compute_B_projections(load_bbasis(bbasis), [s.to_atoms() for s in structures]), tol=1.01
    )
    assert active.log_volume()["Si"] >= np.linalg.slogdet(theirs[0])[1] - 1e-6
    assert max(grades.max() for grades in grades_by_the_engine(bbasis, active, structures)) <= 1.01


def test_the_order_of_structures_does_not_matter_for_what_is_inside(alloy: Path) -> None:
    structures = checked(aluminium_nickel(40))
    volumes = []
    for seed in range(4):
        active = spanned(alloy, random.Random(seed).sample(structures, len(structures)))
        assert max(grades.max() for grades in grades_by_the_engine(alloy, active, structures)) <= 1.01
        volumes.append(active.log_volume()["Al"])
    assert max(volumes) - min(volumes) < 2


def test_a_rare_element_with_fewer_atoms_than_functions_is_completed_and_told(alloy: Path) -> None:
    frames = aluminium(20)
    frames[0].symbols[0] = "Ni"
    structures = checked(frames)
    active = spanned(alloy, structures)
    assert active.missing()["Ni"] == active.n_functions["Ni"] - 1
    assert active.active_atoms()[structures[0].structure_id] >= 1
    assert max(grades.max() for grades in grades_by_the_engine(alloy, active, structures)) <= 1.01
    unlike = grades_by_the_engine(alloy, active, checked(aluminium_nickel(4)))
    assert unlike[1].min() > 5


def test_an_element_without_any_atom_is_outside(alloy: Path) -> None:
    structures = checked(aluminium(30))
    active = spanned(alloy, structures)
    assert active.missing()["Ni"] == active.n_functions["Ni"]
    assert 0 < active.missing()["Al"] < active.n_functions["Al"]  # functions of a neighbouring Ni
    assert max(grades.max() for grades in grades_by_the_engine(alloy, active, structures)) <= 1.01
    (nickel,) = grades_by_the_engine(alloy, active, checked(aluminium_nickel(2))[1:])
    assert nickel.min() > 10


def test_structures_that_are_all_alike_need_one_of_them(tmp_path: Path) -> None:
    bbasis = write_random(tmp_path / "al.yaml", config_of(["Al"]))
    structures = checked(aluminium(1)) * 20
    active = spanned(bbasis, structures)
    assert len(active.active_atoms()) == 1
    assert active.missing()
    assert max(grades.max() for grades in grades_by_the_engine(bbasis, active, structures)) <= 1.01


def test_grades_before_are_those_to_the_set_as_it_was(alloy: Path) -> None:
    active = spanned(alloy, checked(aluminium_nickel(30)))
    new = checked(aluminium_nickel(8, seed=5))
    largest: Counter[str] = Counter()
    for structure, grades in zip(new, grades_by_the_engine(alloy, active, new), strict=True):
        for symbol, grade in zip(structure.symbols, grades, strict=True):
            largest[symbol] = max(largest[symbol], grade)
    assert span(active, alloy, lambda: new).before == pytest.approx(dict(largest), rel=1e-5)


def test_of_nothing_before_everything_is_infinitely_far(alloy: Path) -> None:
    active = ActiveSet(Projector(alloy).n_functions, 1.01)
    before = span(active, alloy, lambda: checked(aluminium_nickel(4))).before
    assert before == {"Al": np.inf, "Ni": np.inf}


def test_structures_are_projected_once_however_many_passes_it_takes(
    alloy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures, told, passes = checked(aluminium_nickel(40)), [], 0
    read = spanning._read

    def counted(kept: IO[bytes]) -> Iterator[spanning._Chunk]:
        nonlocal passes
        passes += 1
        return read(kept)

    def once() -> list[Structure]:
        assert not told
        return structures

    monkeypatch.setattr(spanning, "_read", counted)
    before = set(alloy.parent.iterdir())
    span(ActiveSet(Projector(alloy).n_functions, 1.01), alloy, once, told.append)
    assert passes >= 1
    assert told[-1] == 40
    assert set(alloy.parent.iterdir()) == before


def test_projections_that_waited_in_a_file_are_what_is_projected_again(alloy: Path) -> None:
    structures = checked(aluminium_nickel(40))
    kept = spanned(alloy, structures)
    active = ActiveSet(Projector(alloy).n_functions, 1.01)
    for _ in range(spanning._MOST_PASSES):
        left = span(active, alloy, lambda: structures, most_passes=1).left
        if max(left.values()) <= active.tolerance:
            break
    assert active.log_volume() == pytest.approx(kept.log_volume())
    assert active.active_atoms() == kept.active_atoms()


@pytest.mark.parametrize("worth_sharing", [0.0, 1e9], ids=["shared out", "alone"])
def test_a_long_stream_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth_sharing: float
) -> None:
    monkeypatch.setattr(parallel, "_WORTH_SHARING", worth_sharing)
    bbasis = write_random(tmp_path / "al.yaml", config_of(["Al"]))
    (structure,) = checked(aluminium(1))
    alive, most = 0, 0

    class Tracked(Structure):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[Structure]:
        nonlocal alive, most
        for number in range(400):
            alive += 1
            most = max(most, alive)
            fields = {name: getattr(structure, name) for name in structure.__dataclass_fields__}
            yield Tracked(**fields | {"positions": structure.positions * (1 + 1e-4 * number)})

    with joblib.parallel_config(backend="sequential"):
        span(ActiveSet(Projector(bbasis).n_functions, 1.01), bbasis, stream)
    assert most <= 12 * CHUNK


def test_ranking_goes_on_after_the_active_set_until_enough_are_ranked(alloy: Path) -> None:
    structures = checked(aluminium_nickel(40))
    active = spanned(alloy, structures)
    first = set(active.active_atoms())
    for wanted in (0, len(first), len(first) + 1, 40, 99):
        order = rank(active, alloy, lambda: structures, wanted)
        ids = list(order)
        assert min(wanted, 40) <= len(ids) <= 40
        assert set(ids[: len(first)]) == first
        places = [
            (number, -active_atoms(alloy, structures, order, active, number)[i]) for i, number in order.items()
        ]
        assert places == sorted(places)
        assert (places[-1][0] > 1) == (wanted > len(first))


def active_atoms(
    bbasis: Path, structures: list[Structure], order: dict[str, int], active: ActiveSet, number: int
) -> Counter[str]:
    """Active atoms of each structure in the round of those that no round before has ranked."""
    if number == 1:
        return active.active_atoms()
    others = [s for s in structures if order.get(s.structure_id, number) >= number]
    again = ActiveSet(active.n_functions, active.tolerance)
    span(again, bbasis, lambda: others, most_passes=1)
    return again.active_atoms()


def test_the_fingerprint_follows_what_projections_depend_on_and_nothing_else(tmp_path: Path) -> None:
    bbasis = write_random(tmp_path / "p.yaml", config_of(["Al"]))
    known = projection_fingerprint(bbasis)
    set_first_density(bbasis, 2 * first_density(bbasis), tmp_path / "other.yaml")
    assert projection_fingerprint(tmp_path / "other.yaml") == known
    assert projection_fingerprint(write_random(tmp_path / "radials.yaml", config_of(["Al"]), seed=2)) != known
    larger = config_of(["Al"], functions_per_element=7)
    assert projection_fingerprint(write_random(tmp_path / "larger.yaml", larger)) != known
    tune(bbasis, rcutij=4.4)
    assert projection_fingerprint(bbasis) != known


@pytest.mark.parametrize("elements", [["Al"], ["Al", "Ni"], ["Al", "Cu", "Ni"]])
def test_the_fingerprint_is_the_same_however_the_engine_orders_the_blocks_of_a_file(
    tmp_path: Path, elements: list[str]
) -> None:
    config = config_of(elements, functions_per_element=20, nradmax_by_orders=[3, 2, 1], lmax_by_orders=[0, 1, 0])
    bbasis, rewritten = write_random(tmp_path / "p.yaml", config), tmp_path / "rewritten.yaml"
    set_first_density(bbasis, first_density(bbasis), rewritten)
    (structure,) = checked(aluminium(1))
    rows = [Projector(path).project(structure)["Al"] for path in (bbasis, rewritten)]
    assert np.allclose(*rows, rtol=1e-9)
    assert projection_fingerprint(rewritten) == projection_fingerprint(bbasis)
