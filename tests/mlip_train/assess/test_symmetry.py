"""Symmetries of nature, with potentials that have them and others that lack one each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_train.assess.symmetry import check_symmetry
from mlip_train.atoms.structure import Structure
from mlip_train.potential.calculator import calculator_of
from mlip_train.potential.potential import Potential
from tests.mlip_train.assess.calculators import Changed, Pairwise, emt
from tests.mlip_train.frames import cluster, structure, with_results


def copper(config_type: str = "bulk") -> Structure:
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.info["config_type"] = config_type
    return structure(with_results(atoms, energy=-1.0, forces=np.zeros((4, 3))))


def test_copper_passes() -> None:
    check = check_symmetry(emt(), [copper()])
    assert check.passed, check.finding
    assert check.finding.startswith("No net force, and the same energy and forces after a rotation")
    assert 0 < max(check.numbers.values()) < 1e-10
    (panel,) = check.panels
    assert [curve.label for curve in panel.curves] == ["net force", "rotation", "permutation", "tolerance"]


def test_a_trained_potential_passes_with_a_wide_margin(potential: Potential, structures: list[Structure]) -> None:
    check = check_symmetry(calculator_of(potential.yace, potential.baseline), structures)
    assert check.passed, check.finding
    assert max(check.numbers.values()) < 1e-9


def test_clusters_are_checked_too() -> None:
    morse = Pairwise(lambda r: np.exp(-r), lambda r: -np.exp(-r))
    assert check_symmetry(morse, [structure(cluster("Si4"))]).passed


def pushed(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    return energy, forces + 1e-5


def stretched(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    return energy, forces * [1, 1, 1.001]


def slanted(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    return energy + 1e-5 * np.abs(atoms.cell[0, 0]), forces


def ordered(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    return energy + 1e-2 * atoms.get_distance(0, 1, mic=True), forces


def numbered(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    push = 1e-4 * (atoms.get_distance(0, 1, mic=True, vector=True))
    forces = forces.copy()
    forces[0] += push
    forces[1] -= push
    return energy, forces


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (pushed, "net_force_eV_per_A"),
        (stretched, "rotation_force_eV_per_A"),
        (slanted, "rotation_energy_eV_per_atom"),
        (ordered, "permutation_energy_eV_per_atom"),
        (numbered, "permutation_force_eV_per_A"),
    ],
)
def test_a_broken_symmetry_fails(change: Any, named: str) -> None:
    check = check_symmetry(Changed(change), [copper()])
    assert check.passed is False
    assert check.numbers[named] > 1e-6
    words = {
        "net_force_eV_per_A": "the forces on its atoms add up to",
        "rotation_force_eV_per_A": "a rotation changes its forces by",
        "rotation_energy_eV_per_atom": "a rotation changes its energy by",
        "permutation_energy_eV_per_atom": "its energy depends on the order of the atoms",
        "permutation_force_eV_per_A": "its forces depend on the order of the atoms",
    }
    wrong = {name for name, told in words.items() if told in check.finding}
    assert named in wrong
    assert wrong == {name for name, value in check.numbers.items() if value > 1e-6}
    assert check.finding.startswith("a.extxyz frame 0: ")


def test_numbers_that_are_not_finite_fail() -> None:
    check = check_symmetry(Changed(lambda atoms, energy, forces: (energy, forces * np.nan)), [copper()])
    assert check.passed is False
    assert np.isfinite([*check.numbers.values(), *(y for c in check.panels[0].curves for y in c.y)]).all()


def test_structures_of_many_kinds_are_looked_at() -> None:
    data = [*(copper("a") for _ in range(9)), copper("b"), structure(cluster("Cu2"))]
    calculator = emt()
    check = check_symmetry(calculator, iter(data))
    assert len(check.panels[0].curves[0].x) == 5
    assert len(calculator.seen) == 15
    assert sum(not atoms.pbc.any() for atoms in calculator.seen) == 3


def test_the_stream_is_left_when_there_are_enough_kinds() -> None:
    stream = iter([copper(kind) for kind in "abcdefgh"])
    check_symmetry(emt(), stream)
    assert len(list(stream)) == 3


def test_without_structures_nothing_is_checked() -> None:
    assert check_symmetry(emt(), []).passed is None
    large = structure(with_results(bulk("Si").repeat((5, 5, 6)), energy=-1.0, forces=np.zeros((300, 3))))
    assert check_symmetry(emt(), [large]).passed is None
