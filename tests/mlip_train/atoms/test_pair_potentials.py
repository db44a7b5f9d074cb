from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.units import Bohr, Hartree
from pydantic import ValidationError

from mlip_train.atoms.pair_potentials import (
    LennardJonesPotential,
    LJParameters,
    PairPotential,
    SwitchRadii,
    ZBLPotential,
)
from mlip_train.atoms.pairs import pair_name, pairs_of
from mlip_train.atoms.structure import Structure
from mlip_train.errors import InputError
from mlip_train.potential.calculator import ResultsCalculator
from mlip_train.potential.lammps import lammps_include
from tests.mlip_train.alloys import aluminium_nickel, checked
from tests.mlip_train.lammps_program import run_lammps

# Radii and parameters reach far, so that many pairs are inside and some in every part of the switch. Some have so
# many digits that none may be lost on the way to LAMMPS.
ZBL_ONE = ZBLPotential(radii={"Si-Si": SwitchRadii(inner=1.512345678, outer=3.0)})
ZBL_TWO = ZBLPotential(
    radii={
        "Al-Al": SwitchRadii(inner=1.5, outer=3.5),
        "Al-Ni": SwitchRadii(inner=1.2, outer=3.1),
        "Ni-Ni": SwitchRadii(inner=1.5, outer=3.5),
    }
)
LJ_ONE = LennardJonesPotential(
    r_cut=4.987654321, parameters={"Si-Si": LJParameters(epsilon=0.1012345678, sigma=2.087654321)}
)
LJ_TWO = LennardJonesPotential(
    r_cut=4.5,
    parameters={
        "Al-Al": LJParameters(epsilon=0.10, sigma=2.5),
        "Al-Ni": LJParameters(epsilon=0.14, sigma=2.4),
        "Ni-Ni": LJParameters(epsilon=0.20, sigma=2.2),
    },
)


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    return atoms


def sheared_alloy() -> Atoms:
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    atoms.symbols[[0, 3, 5]] = "Ni"
    atoms.set_cell(atoms.cell @ np.array([[1.0, 0.1, 0.0], [0.2, 1.0, 0.1], [0.0, 0.3, 0.9]]), scale_atoms=True)
    atoms.rattle(0.2, seed=2)
    return atoms


def cluster() -> Atoms:
    atoms = sheared_alloy()
    atoms.pbc, atoms.cell = False, None
    return atoms


def collision() -> Atoms:
    return Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0.9]])


def in_lammps(baseline: PairPotential, elements: list[str], atoms: Atoms) -> list[str]:
    """The commands of the include file, with a pair style that does nothing for the one LAMMPS has not."""
    text = lammps_include("potential_gen_01", elements, baseline, {})
    parts = text.partition("else &")[2].splitlines()
    style, coefficients, *others = (line.strip().strip("&").strip().strip('"') for line in parts if line.strip())
    assert coefficients.startswith("pair_coeff * * pace")
    return [style.replace("pace", "zero 5.0"), "pair_coeff * * zero", *others]


@pytest.mark.parametrize(
    ("potential", "make"),
    [
        (ZBL_ONE, silicon),
        (LJ_ONE, silicon),
        (ZBL_TWO, sheared_alloy),
        (LJ_TWO, sheared_alloy),
        (ZBL_TWO, cluster),
        (ZBL_ONE, collision),
    ],
    ids=["ZBL", "LJ", "ZBL of two elements", "LJ of two elements", "cluster", "below the switch"],
)
def test_lammps_computes_the_same_from_the_include_file(
    potential: PairPotential, make: Callable[[], Atoms]
) -> None:
    atoms = make()
    elements = sorted(set(atoms.symbols))
    if not atoms.pbc.any():
        atoms.center(vacuum=8.0)
    theirs, ours = run_lammps(atoms, in_lammps(potential, elements, atoms), elements), potential.compute(atoms)
    assert abs(ours.energy) > 0.1
    assert ours.energy == pytest.approx(theirs.energy, abs=1e-10)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-10)


class PairCalculator(ResultsCalculator):
    """A pair potential alone."""

    def __init__(self, potential: PairPotential) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential = potential

    def compute(self, atoms: Atoms) -> dict[str, Any]:
        computed = self.potential.compute(atoms)
        stress = {} if computed.stress is None else {"stress": computed.stress}
        energies = {"energy": computed.energy, "free_energy": computed.energy}
        return {**energies, "forces": computed.forces, **stress}


@pytest.mark.parametrize("potential", [ZBL_TWO, LJ_TWO], ids=["ZBL", "LJ"])
@pytest.mark.parametrize("make", [sheared_alloy, cluster], ids=["bulk", "cluster"])
def test_forces_and_stress_are_derivatives_of_the_energy(
    potential: PairPotential, make: Callable[[], Atoms]
) -> None:
    atoms = make()
    atoms.calc = PairCalculator(potential)
    assert np.abs(atoms.get_forces()).max() > 0.1
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6)
    if atoms.pbc.all():
        np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_a_slab_and_atoms_in_a_line_are_computed_too() -> None:
    line = Atoms("Si3", positions=[[0, 0, 0], [0, 0, 2.2], [0, 0, 4.4]])
    pair, _ = ZBL_ONE.pair_energy("Si-Si", np.array([2.2]))
    assert ZBL_ONE.compute(line).energy == pytest.approx(2 * pair[0])
    chain = Atoms("Si", cell=[0, 0, 2.2], pbc=[False, False, True])
    assert ZBL_ONE.compute(chain).energy == pytest.approx(pair[0])
    assert ZBL_ONE.compute(chain).stress is None
    calculator = PairCalculator(ZBL_ONE)
    calculator.calculate(chain)
    assert "stress" not in calculator.results


@pytest.mark.parametrize("pair", ["H-H", "Al-Ni", "Si-Si", "Au-Si"])
@pytest.mark.parametrize("r", [0.1, 0.5, 1.0])
def test_zbl_is_the_universal_function_below_the_switch(pair: str, r: float) -> None:
    # Ziegler, Biersack, Littmark (1985), four digits, in atomic units
    one, other = Atoms("".join(pair.split("-"))).numbers
    x = r / (0.8854 * Bohr / (one**0.23 + other**0.23))
    terms = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4029), (0.02817, 0.2016))
    expected = one * other * Hartree * Bohr / r * sum(c * np.exp(-d * x) for c, d in terms)
    far = ZBLPotential(radii={pair: SwitchRadii(inner=20.0, outer=21.0)})  # so far that nothing is left to shift
    energy, _ = far.pair_energy(pair, np.array([r]))
    assert energy[0] == pytest.approx(expected, rel=2e-3)


def test_the_switch_ends_with_energy_slope_and_curvature_zero() -> None:
    outer, h = ZBL_ONE.radii["Si-Si"].outer, 1e-3
    energies, slopes = ZBL_ONE.pair_energy("Si-Si", np.array([outer - h, outer, outer + h]))
    assert energies[1] == slopes[1] == energies[2] == slopes[2] == 0.0
    assert abs(energies[0]) < 10 * h**3
    assert abs(slopes[0]) < 10 * h**2


def test_lennard_jones_is_that_of_ase() -> None:
    atoms = silicon()
    parameters = LJ_ONE.parameters["Si-Si"]
    atoms.calc = LennardJones(epsilon=parameters.epsilon, sigma=parameters.sigma, rc=LJ_ONE.r_cut, smooth=False)
    ours = LJ_ONE.compute(atoms)
    assert ours.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(ours.forces, atoms.get_forces(), atol=1e-10)
    np.testing.assert_allclose(ours.stress, atoms.get_stress(), atol=1e-10)


@pytest.mark.parametrize("potential", [ZBL_TWO, LJ_TWO], ids=["ZBL", "LJ"])
def test_what_is_subtracted_and_added_again_gives_the_labels_back(potential: PairPotential) -> None:
    for structure in checked(aluminium_nickel(4)):
        left, taken = potential.subtracted(structure), potential.compute(structure.to_atoms())
        assert abs(left.energy - structure.energy) > 0.01
        assert left.energy + taken.energy == pytest.approx(structure.energy, abs=1e-12)
        np.testing.assert_allclose(left.forces + taken.forces, structure.forces, atol=1e-12)
        assert left.structure_id == structure.structure_id


def test_stress_is_subtracted_where_there_is_one(structure_with_stress: Structure) -> None:
    left, taken = LJ_TWO.subtracted(structure_with_stress), LJ_TWO.compute(structure_with_stress.to_atoms())
    assert left.stress is not None
    assert taken.stress is not None
    np.testing.assert_allclose(left.stress + taken.stress, structure_with_stress.stress, atol=1e-15)
    assert np.abs(taken.stress).max() > 1e-4


def test_a_stress_that_is_not_one_of_a_bulk_is_left_out(structure_with_stress: Structure) -> None:
    slab = replace(structure_with_stress, pbc=np.array([True, True, False]))
    assert LJ_TWO.subtracted(slab).stress is None


@pytest.fixture
def structure_with_stress() -> Structure:
    (structure,) = checked(aluminium_nickel(1))
    return replace(structure, stress=np.linspace(-0.01, 0.02, 6))


def test_an_undescribed_pair_and_atoms_at_one_place_are_refused() -> None:
    with pytest.raises(InputError, match="does not describe Cu-Si"):
        ZBL_ONE.compute(Atoms("SiCu", positions=[[0, 0, 0], [0, 0, 2.0]]))
    with pytest.raises(InputError, match="at the same place"):
        ZBL_ONE.compute(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0]]))


def test_atoms_that_are_far_apart_feel_nothing() -> None:
    results = ZBL_ONE.compute(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 3.0]]))
    assert results.energy == 0.0
    assert not results.forces.any()
    assert ZBL_ONE.compute(Atoms("Si")).energy == 0.0


def test_a_pair_has_one_name() -> None:
    assert pair_name("Ni", "Al") == pair_name("Al", "Ni") == "Al-Ni"
    assert pairs_of(["Ni", "Al"]) == ["Al-Al", "Al-Ni", "Ni-Ni"]


@pytest.mark.parametrize("inner", [1.0, 2.0])
def test_radii_in_the_wrong_order_are_refused(inner: float) -> None:
    with pytest.raises(ValidationError, match=f"inner {inner:g} Å must be below outer 1 Å"):
        SwitchRadii(inner=inner, outer=1.0)
