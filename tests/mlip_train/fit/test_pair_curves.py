from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_train.atoms.approaches import Approach, closest_approaches
from mlip_train.errors import InconsistentPotentialError
from mlip_train.fit.pair_curves import ALONE, NEAREST, PairCurve, decisive, pair_curves
from tests.mlip_train.frames import crystal, structure, with_results


class Pairwise:
    """A calculator of two atoms from a function of their distance."""

    def __init__(self, energy: Callable[[float], float]) -> None:
        self._energy = energy
        self.results: dict[str, Any] = {}

    def calculate(self, atoms: Atoms) -> None:
        self.results = {"energy": self._energy(atoms.get_distance(0, 1))}


def curve(energy: Callable[[float], float], shortest: float = 2.0) -> PairCurve:
    (found,) = pair_curves(Pairwise(energy), [Approach("Si-Si", shortest)], 5.0)
    return found


def bump(r: float, at: float, height: float) -> float:
    return height * float(np.exp(-(((r - at) / 0.1) ** 2)))


def test_a_curve_reaches_from_almost_touching_to_the_cutoff() -> None:
    found = curve(lambda r: 1 / r)
    assert found.distances[0] == NEAREST
    assert 4.9 < found.distances[-1] <= 5.0
    assert np.diff(found.distances).max() < 0.051
    assert found.energies[0] == pytest.approx(1 / NEAREST)


def test_a_curve_is_fine_below_an_edge_that_is_far_and_ends_at_a_cutoff_that_is_near() -> None:
    (far,) = pair_curves(Pairwise(lambda r: 1 / r), [Approach("Cs-Cs", 4.0)], 6.0)
    assert np.diff([r for r in far.distances if r <= far.edge]).max() < 0.011
    (near,) = pair_curves(Pairwise(lambda r: 1 / r), [Approach("Si-Si", 2.0)], 2.5)
    assert 2.4 < near.distances[-1] <= 2.5


def test_every_pair_of_elements_has_a_curve() -> None:
    symbols = []
    spy = SimpleNamespace(results={"energy": 0.0})
    spy.calculate = lambda atoms: symbols.append("-".join(atoms.symbols))
    found = pair_curves(spy, [Approach("Al-Al", 2.4), Approach("Al-Ni", 2.3), Approach("Ni-Ni")], 4.0)
    assert [(one.pair, one.where, one.edge) for one in found] == [
        ("Al-Al", ALONE, 2.4), ("Al-Ni", ALONE, 2.3), ("Ni-Ni", ALONE, 2.48),
    ]  # fmt: skip
    assert set(symbols) == {"Al-Al", "Al-Ni", "Ni-Ni"}


@pytest.mark.parametrize("shortest", [0.1, 0.3, 0.405, 0.42])
def test_data_may_be_closer_than_a_curve_begins(shortest: float) -> None:
    assert curve(lambda r: 1 / r, shortest).hole() is None
    assert curve(lambda r: -10 / r, shortest).hole() is not None


def test_plain_repulsion_has_no_hole_and_no_cliff() -> None:
    found = curve(lambda r: 300 / r**2)
    assert found.rise.by == 0.0
    assert found.jump.by == pytest.approx(0.0, abs=1e-9)
    assert found.hole() is None
    assert found.uneven() == []


def test_a_hole_is_found_with_its_depth_and_place() -> None:
    found = curve(lambda r: 20 / r - bump(r, 1.0, 20.0))
    depth, at = found.well
    assert depth == pytest.approx(20 / 2, abs=0.2)
    assert at == pytest.approx(1.0, abs=0.05)
    assert found.hole() == (
        f"Si and Si alone fall into each other, {depth:.3g} eV deep at {at:.2f} Å (nothing is known below 2.00 Å)"
    )


def test_a_barrier_is_what_stands_between_the_data_and_the_bottom_of_a_well() -> None:
    assert curve(lambda r: 20 / r - bump(r, 1.0, 20.0)).barrier == pytest.approx(20 / 1.2 - 20 / 2, abs=1.0)
    assert curve(lambda r: -50 / r).barrier == 0.0
    assert curve(lambda r: -50 / r + bump(r, 1.8, 9.0)).barrier == pytest.approx(-50 / 1.8 + 9 + 50 / 2, abs=0.5)
    assert curve(lambda r: 1 / r).barrier == 0.0


def test_a_dent_in_a_wall_is_no_hole_but_told() -> None:
    found = curve(lambda r: 20 / r - bump(r, 1.0, 8.0))
    assert found.hole() is None
    told = " ".join(found.uneven())
    assert "Si and Si alone attract each other between 1.0" in told


def test_a_well_as_deep_as_a_chemical_bond_is_no_hole_but_told() -> None:
    found = curve(lambda r: 2.5 * r)
    assert found.well[0] == pytest.approx(4.0)
    assert found.hole() is None
    assert "attract each other between 0.40 and 2.00 Å (4 eV" in " ".join(found.uneven())


def test_atoms_that_fall_all_the_way_are_a_hole() -> None:
    hole = curve(lambda r: -50 / r).hole()
    assert hole is not None
    assert "at 0.40 Å" in hole


def test_an_energy_that_is_no_number_is_an_error() -> None:
    with pytest.raises(InconsistentPotentialError, match=r"Si-Si alone at 0\.40 Å is nan"):
        curve(lambda r: float("nan") if r < 1 else 1 / r)


def test_what_is_known_from_data_is_nobody_s_hole() -> None:
    bond = curve(lambda r: 10 / r**3 - bump(r, 2.3, 3.0))
    assert bond.hole() is None
    assert curve(lambda r: 10 / r**3 - bump(r, 1.7, 9.0)).hole() is not None


def test_a_dent_below_what_shakes_a_bond_is_tolerated() -> None:
    found = curve(lambda r: -0.02 * r + bump(r, 1.0, 0.03))
    assert found.hole() is None
    assert found.uneven() == []
    assert curve(lambda r: -0.02 * r + bump(r, 1.0, 0.1)).uneven() != []


def test_two_atoms_are_pushed_together_in_the_structure_where_they_are_closest() -> None:
    silicon = bulk("Si", cubic=True)
    cell = structure(with_results(silicon, energy=-1.0, forces=np.zeros((8, 3))))
    approach = closest_approaches([cell], ["Si"], 3.0)["Si-Si"]
    seen = []
    spy = SimpleNamespace(results={"energy": 0.0})
    spy.calculate = seen.append
    alone, among = pair_curves(spy, [approach], 5.0)
    moved = [atoms for atoms in seen if len(atoms) == 8]
    assert len(moved) == len(among.distances)
    for atoms, r in zip(moved, among.distances, strict=True):
        distances = atoms.get_all_distances(mic=True) + 9 * np.eye(8)
        assert distances.min() == pytest.approx(r, abs=1e-6)
        np.testing.assert_allclose(atoms.positions.mean(axis=0), cell.positions.mean(axis=0), atol=1e-9)
    assert among.where == f"{cell.source} frame {cell.frame}"
    assert among.distances[-1] < among.edge == approach.shortest == pytest.approx(5.43 * 3**0.5 / 4)
    assert decisive([alone, among]) == decisive([among, alone]) == [among]


def test_an_atom_and_its_own_image_are_not_pushed_together() -> None:
    copper = structure(with_results(bulk("Cu", a=3.6), energy=-1.0, forces=np.zeros((1, 3))))
    approach = closest_approaches([copper], ["Cu"], 5.0)["Cu-Cu"]
    assert approach.shortest == pytest.approx(3.6 / 2**0.5)
    assert approach.collision is None


@pytest.mark.parametrize("lengths", [(5.3, 5.5), (5.5, 5.3)])
def test_atoms_are_pushed_together_where_they_are_closest_of_all_structures(lengths: tuple[float, float]) -> None:
    crystals = [structure(crystal(a=a), source=f"{a}.extxyz") for a in lengths]
    approach = closest_approaches(crystals, ["Si"], 3.0)["Si-Si"]
    assert approach.shortest == pytest.approx(5.3 * 3**0.5 / 4)
    assert str(approach.collision) == "5.3.extxyz frame 0"


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1])
def test_a_cliff_is_the_larger_the_narrower(width: float) -> None:
    found = curve(lambda r: 5 / (1 + float(np.exp((r - 1.5) / width))) + 1 / r)
    assert found.jump.by == pytest.approx(5 / (4 * width), rel=0.35)
    assert found.jump.end == pytest.approx(1.5, abs=0.03)
    (cliff,) = found.uneven()
    assert "the repulsion jumps from" in cliff
    assert f"and {found.jump.end:.2f} Å" in cliff


def test_a_force_that_not_even_doubles_is_no_cliff() -> None:
    found = curve(lambda r: 5 / (1 + float(np.exp((r - 1.5) / 0.1))) - 20 * r)
    assert found.jump.by > 10
    assert found.uneven() == []
