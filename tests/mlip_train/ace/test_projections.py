from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.bbasis import config_of, predictions, write_random
from tests.mlip_train.coefficients import first_density, set_first_density


@pytest.mark.parametrize("embedding", ["linear", "finnis_sinclair"])
@pytest.mark.parametrize("elements", [["Al"], ["Al", "Ni"]])
def test_energies_and_forces_of_a_design_are_those_of_the_engines_evaluator(
    tmp_path: Path, elements: list[str], embedding: str
) -> None:
    structures = checked(aluminium(4) if elements == ["Al"] else aluminium_nickel(8))
    full = write_random(tmp_path / "full.yaml", config_of(elements, embedding=embedding, functions_per_element=10))
    coefficients = first_density(full)
    rest = tmp_path / "rest.yaml"
    set_first_density(full, np.zeros_like(coefficients), rest)
    projector = Projector(rest)

    energies, forces = predictions(full, structures)

    designs = [projector.design(structure) for structure in structures]
    assert np.abs(energies).max() > 0.01
    assert np.allclose([d.energy @ coefficients + d.fixed.energy for d in designs], energies, rtol=0, atol=1e-9)
    predicted = np.concatenate([d.forces @ coefficients + d.fixed.forces for d in designs])
    assert np.allclose(predicted, forces, rtol=0, atol=1e-9)
    assert np.allclose([Projector(full).energy(s) for s in structures], energies, rtol=0, atol=1e-9)


def test_projections_have_a_row_per_atom_of_the_element_in_the_order_of_the_atoms(tmp_path: Path) -> None:
    structures = checked(aluminium_nickel(4))
    projector = Projector(write_random(tmp_path / "p.yaml", config_of(["Al", "Ni"], functions_per_element=10)))
    for structure in structures:
        rows = projector.project(structure)
        for element in ("Al", "Ni"):
            atoms = [i for i, symbol in enumerate(structure.symbols) if symbol == element]
            assert rows[element].shape == (len(atoms), projector.n_functions[element])
    mixed = projector.project(structures[2])
    al, ni = mixed["Al"].sum(axis=0), mixed["Ni"].sum(axis=0)
    assert np.allclose(np.concatenate([al, ni]), projector.design(structures[2]).energy)


def test_projections_do_not_depend_on_function_coefficients(tmp_path: Path) -> None:
    (structure,) = checked(aluminium(1))
    one = write_random(tmp_path / "one.yaml", config_of(["Al"]))
    other = tmp_path / "other.yaml"
    set_first_density(one, 3 * first_density(one), other)
    rows = [Projector(path).project(structure)["Al"] for path in (one, other)]
    assert np.array_equal(*rows)


def test_structures_of_one_element_have_no_rows_of_the_other(tmp_path: Path) -> None:
    structures: list[Structure] = checked(aluminium(1))
    projector = Projector(write_random(tmp_path / "p.yaml", config_of(["Al", "Ni"])))
    assert projector.project(structures[0])["Ni"].shape == (0, projector.n_functions["Ni"])
