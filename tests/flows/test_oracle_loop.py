from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from examples import oracle_loop as example
from mlip_train import Campaign

MakeCampaign = Callable[..., Campaign]


@pytest.fixture
def copper(make_campaign: MakeCampaign, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """A campaign of the stand-in engine, explored for a moment."""
    monkeypatch.setattr(example, "STEPS", 20)
    monkeypatch.setattr(example, "EXPLORED", ((300, 3.60), (1200, 3.90)))
    return make_campaign("copper", elements=["Cu"], fit={"max_epochs": 2}, test={"fraction": 0})


def a_run(folder: Path, name: str, gamma: list[float]) -> example.Exploration:
    """A run whose snapshots can be told apart by their numbers."""
    frames = [Atoms("Cu", positions=[[index, 0, 0]]) for index in range(len(gamma))]
    return example.Exploration(example.write(folder / name, frames), gamma)


def picked_indices(path: Path | None) -> list[int]:
    assert path is not None
    return [round(atoms.positions[0, 0]) for atoms in ase.io.iread(path)]


@pytest.mark.usefixtures("prefect_server")
def test_a_generation_is_labelled_trained_and_explored(copper: Campaign) -> None:
    (generation,) = example.oracle_loop(copper.root, generations=1)

    assert generation.potential == copper.bundle_record(1)
    assert generation.n_new == 4
    assert generation.largest_gamma > 1
    for row in copper.store.iterate("train"):
        atoms = row.structure.to_atoms()
        atoms.calc = EMT()
        assert row.structure.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert row.structure.stress is not None
    explored = Path(f"{copper.root}_explored") / "potential_gen_01"
    assert {"300K.traj", "1200K.traj"} <= {path.name for path in explored.iterdir()}


@pytest.mark.usefixtures("prefect_server")
def test_the_same_call_goes_on_from_what_is_there(copper: Campaign) -> None:
    (before,) = example.oracle_loop(copper.root, generations=1)
    again, then = example.oracle_loop(copper.root, generations=2)
    assert again == before._replace(n_new=0)
    assert then.potential == copper.bundle_record(2)
    assert then.n_new > 0


@pytest.mark.usefixtures("prefect_server")
def test_the_loop_ends_when_nothing_is_new(copper: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "NEW", np.inf)
    monkeypatch.setattr(example, "TOO_NEW", 0.0)
    (only,) = example.oracle_loop(copper.root)
    assert only.n_stopped == 2
    explored = Path(f"{copper.root}_explored") / "potential_gen_01"
    for name in ("300K.traj", "1200K.traj"):
        assert len(list(ase.io.iread(explored / name))) == 1  # stopped where it was looked at first


def test_of_each_run_an_early_a_middle_and_a_late_one_is_picked(tmp_path: Path) -> None:
    long = a_run(tmp_path, "long.traj", [1, 3, 2.5, 1, 4, 9, 1, 3, 5, 30])
    short = a_run(tmp_path, "short.traj", [0.5, 40])
    known = a_run(tmp_path, "known.traj", [0.5, 1.9])
    picked = example.pick.fn([long, short, known], tmp_path / "picked.traj")
    assert picked_indices(picked) == [4, 5, 9, 1]


def test_nothing_is_picked_where_all_is_known(tmp_path: Path) -> None:
    known = a_run(tmp_path, "known.traj", [0.5, 2.0])
    assert example.pick.fn([known], tmp_path / "picked.traj") is None


def test_any_calculator_is_an_oracle(tmp_path: Path) -> None:
    structures = example.rattled_crystals.fn(tmp_path / "rattled.traj")
    labelled = example.label.fn(structures, "ase.calculators.lj:LennardJones")
    for plain, stored in zip(ase.io.iread(structures), ase.io.iread(labelled), strict=True):
        plain.calc = LennardJones()
        assert stored.get_potential_energy() == plain.get_potential_energy()
        assert np.array_equal(stored.get_forces(), plain.get_forces())


def test_the_table_is_shown_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [example.Generation(tmp_path / f"potential_gen_0{n}.json", 4, 100.0 / n, 3 - n) for n in (1, 2)]
    monkeypatch.setattr(example, "oracle_loop", lambda *_: done)
    monkeypatch.setattr(example, "prefect_api", contextlib.nullcontext)
    example.main(tmp_path / "copper")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "potential_gen_02                4            50.0         1 of 4" in shown.err
