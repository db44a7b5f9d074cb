from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlip_train.dimers import NEAREST, DimerCurve, dimer_curves


class Pairwise:
    """A calculator of two atoms from a function of their distance."""

    def __init__(self, energy: Callable[[float], float]) -> None:
        self._energy = energy
        self.results: dict[str, Any] = {}

    def calculate(self, atoms: Atoms) -> None:
        self.results = {"energy": self._energy(atoms.get_distance(0, 1))}


def curve(energy: Callable[[float], float], shortest: float = 2.0) -> DimerCurve:
    return dimer_curves(Pairwise(energy), ["Si"], 5.0, {"Si-Si": shortest})["Si-Si"]


def bump(r: float, at: float, height: float) -> float:
    return height * float(np.exp(-(((r - at) / 0.1) ** 2)))


def test_a_curve_reaches_from_almost_touching_to_the_cutoff() -> None:
    found = curve(lambda r: 1 / r)
    assert found.distances[0] == NEAREST
    assert 4.9 < found.distances[-1] <= 5.0
    assert np.diff(found.distances).max() < 0.051
    assert found.energies[0] == pytest.approx(1 / NEAREST)


def test_every_pair_of_elements_has_a_curve() -> None:
    shortest = {"Al-Al": 2.5, "Al-Ni": 2.4, "Ni-Ni": 2.3}
    symbols = []
    spy = SimpleNamespace(results={"energy": 0.0})
    spy.calculate = lambda atoms: symbols.append("-".join(atoms.symbols))
    found = dimer_curves(spy, ["Ni", "Al"], 4.0, shortest)
    assert {pair: one.shortest for pair, one in found.items()} == shortest
    assert set(symbols) == set(shortest)


def test_plain_repulsion_has_no_hole_and_no_cliff() -> None:
    found = curve(lambda r: 300 / r**2)
    assert found.rise.by == 0.0
    assert found.jump.by == pytest.approx(0.0, abs=1e-9)
    assert found.hole() is None
    assert found.cliff() is None


def test_a_hole_is_found_with_its_depth_and_place() -> None:
    found = curve(lambda r: 20 / r - bump(r, 1.0, 15.0))
    _, rise, begin, end = found.rise
    r = np.array(found.distances)
    energy = np.array(found.energies)
    assert rise == pytest.approx(
        energy[(r > 1.0) & (r < 1.6)].max() - energy[np.abs(r - 1.0) < 0.05].min(), abs=0.05
    )
    assert begin == pytest.approx(1.0, abs=0.05)
    assert 1.1 < end < 1.4
    assert found.hole() is not None
    assert f"closer than {end:.2f} Å fall together" in found.hole()


def test_atoms_that_fall_all_the_way_are_a_hole() -> None:
    hole = curve(lambda r: -50 / r).hole()
    assert hole is not None
    assert "Si-Si" in hole
    assert "down to 0.40 Å" in hole


def test_what_is_known_from_data_is_nobody_s_hole() -> None:
    bond = curve(lambda r: 10 / r**3 - bump(r, 2.3, 3.0))
    assert bond.hole() is None
    assert curve(lambda r: 10 / r**3 - bump(r, 1.7, 3.0)).hole() is not None


def test_a_dent_below_what_shakes_a_bond_is_tolerated() -> None:
    assert curve(lambda r: -0.02 * r + bump(r, 1.0, 0.03)).hole() is None


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1])
def test_a_cliff_is_the_larger_the_narrower(width: float) -> None:
    found = curve(lambda r: 5 / (1 + float(np.exp((r - 1.5) / width))) + 1 / r)
    assert found.jump.by == pytest.approx(5 / (4 * width), rel=0.35)
    assert found.jump.end == pytest.approx(1.5, abs=0.02)
    cliff = found.cliff()
    assert cliff is not None
    assert "repulsion of two atoms jumps from" in cliff
    assert f"and {found.jump.end:.2f} Å" in cliff


def test_a_force_that_not_even_doubles_is_no_cliff() -> None:
    found = curve(lambda r: 5 / (1 + float(np.exp((r - 1.5) / 0.1))) - 20 * r)
    assert found.jump.by > 10
    assert found.cliff() is None
