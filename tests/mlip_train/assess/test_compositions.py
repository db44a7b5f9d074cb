from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.lattice.hexagonal import Graphite as graphite  # noqa: N813

from mlip_train.assess import compositions
from mlip_train.assess.compositions import best_by_composition, energy_per_atom, is_bulk
from mlip_train.atoms.structure import Structure
from tests.mlip_train.frames import cluster, crystal, structure


def slab(vacuum: float) -> Atoms:
    atoms = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=vacuum)
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", a=3.6),
        bulk("Cs", "bcc", a=6.2),
        bulk("Si", cubic=True),
        bulk("Ar", a=5.4),
        graphite("C", latticeconstant={"a": 2.46, "c": 6.7}),
        bulk("Cu", a=4.2, cubic=True).repeat(2),
    ],
    ids=["copper", "caesium", "silicon", "argon", "graphite", "stretched"],
)
def test_crystals_are_bulk(atoms: Atoms) -> None:
    atoms.pbc = True
    atoms.positions += [0.3, -7.0, 5.1]  # wherever the cell begins
    atoms.positions[0] -= 2 * atoms.cell[2]  # and in whichever image an atom is
    assert is_bulk(of(atoms))


def boxed(atoms: Atoms, length: float) -> Atoms:
    atoms.set_cell([length] * 3)
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [slab(4.0), slab(8.0), boxed(molecule("H2O"), 8.0), cluster("Cu4")],
    ids=["thin vacuum", "vacuum", "molecule", "cluster"],
)
def test_surfaces_and_molecules_are_not_bulk(atoms: Atoms) -> None:
    atoms.positions += [0.1, 0.2, 3.3]
    assert not is_bulk(of(atoms))


def of(atoms: Atoms) -> Structure:
    """Unchecked: some have no neighbours within the cutoff of the check."""
    n = len(atoms)
    return Structure(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, -1.0, np.zeros((n, 3)), None, "", "", 0
    )


def rank(found: Structure) -> Any:
    return (energy_per_atom(found),)


def test_compositions_are_reduced_and_counted() -> None:
    data = [structure(crystal("SiGe", a=a)) for a in (5.4, 5.5)]
    data += [of(Atoms("Ge2Si2", np.eye(4, 3) * 2.5, cell=[5, 5, 5], pbc=True)), structure(crystal("Si2"))]
    (alloy, silicon) = best_by_composition(data, rank)
    assert (alloy.count, silicon.count) == (3, 1)
    assert alloy.best is data[0]


def test_memory_does_not_grow_with_the_number_of_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compositions, "_KEPT", 4)
    rare = [structure(crystal(f"Si{element}")) for element in ("C", "Ge", "Sn", "N", "O", "F", "P")]
    common = structure(crystal("Si2"))
    found = best_by_composition([common, rare[0], common, *rare[1:], common], rank)
    assert found[0].best is common
    assert found[0].count == 3
    assert len(found) <= 4
