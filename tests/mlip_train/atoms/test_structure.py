from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlip_train.atoms.structure import GEOMETRY_RESOLUTION, composition_of
from tests.mlip_train.frames import cluster, crystal, structure


def test_the_structure_id_does_not_depend_on_labels() -> None:
    one = structure(crystal())
    other = crystal(energy=-11.0, forces=np.zeros((2, 3)), stress=np.arange(6.0))
    other.info["config_type"] = "liquid"
    assert structure(other, source="b.extxyz", frame=7).structure_id == one.structure_id


@given(
    field=st.sampled_from(["positions", "cell"]),
    row=st.integers(0, 1),
    column=st.integers(0, 2),
    change=st.floats(1.01, 1e7) | st.floats(-1e7, -1.01),
)
def test_any_change_of_positions_or_cell_changes_the_id(field: str, row: int, column: int, change: float) -> None:
    one = structure(crystal())
    changed = getattr(one, field).copy()
    changed[row, column] += change * GEOMETRY_RESOLUTION
    assert dataclasses.replace(one, **{field: changed}).structure_id != one.structure_id


def test_a_geometry_is_recognised_from_eight_digits(silicon: list[Atoms]) -> None:
    original = structure(silicon[0])
    full = dataclasses.replace(original, positions=original.positions + 3.3e-9, cell=original.cell - 3.3e-9)
    assert full.structure_id == original.structure_id


def test_another_element_order_or_periodicity_changes_the_id() -> None:
    one = structure(crystal("SiGe"))
    others = [
        dataclasses.replace(one, numbers=one.numbers[::-1]),
        dataclasses.replace(one, numbers=one.numbers + 1),
        dataclasses.replace(one, pbc=~one.pbc),
    ]
    assert len({one.structure_id, *(other.structure_id for other in others)}) == 4


@given(arrays(float, (2, 3), elements=st.sampled_from([0.0, -0.0, 1.5])))
def test_minus_zero_is_zero_to_the_id(positions: Any) -> None:
    one = dataclasses.replace(structure(crystal()), positions=positions)
    other = dataclasses.replace(one, positions=np.where(positions == 0, 0.0, positions))
    assert one.structure_id == other.structure_id


def test_an_energy_is_relative_to_those_of_its_atoms() -> None:
    energies = {"Si": -4.5, "Ge": -3.25, "C": -1.0}
    assert structure(crystal("SiGe", energy=-10.0)).relative_energy(energies) == -2.25
    assert structure(cluster("Si3", energy=-8.0)).relative_energy(energies) == 5.5


@pytest.mark.parametrize("handedness", [1, -1])
def test_a_volume_is_shared_out_among_the_atoms_of_a_crystal(handedness: int) -> None:
    one = structure(crystal(a=5.44))
    turned = dataclasses.replace(one, cell=handedness * one.cell)
    assert turned.volume_per_atom == pytest.approx(5.44**3 / 8)


def test_a_cluster_has_no_volume() -> None:
    atoms = cluster()
    atoms.cell = [9.0] * 3
    assert structure(atoms).volume_per_atom is None


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [("Si2", "Si"), ("GeSi", "GeSi"), ("Ni6Al2", "AlNi3"), ("NiAlNiNi", "AlNi3"), ("C2H6O", "C2H6O")],
)
def test_a_composition_is_a_reduced_formula_whatever_the_order_of_the_atoms(symbols: str, expected: str) -> None:
    assert composition_of(Atoms(symbols).symbols) == expected


def test_the_composition_of_a_structure_is_that_of_its_atoms() -> None:
    assert structure(crystal("GeSi")).composition == composition_of(["Si", "Ge"])
