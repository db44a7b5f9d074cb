"""Energy against volume, with potentials that have an equation of state and others that have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.eos import EquationOfState, birchmurnaghan
from ase.units import GPa

from mlip_train.assess.volume import check_volume
from mlip_train.atoms.structure import Structure
from mlip_train.potential.calculator import calculator_of
from mlip_train.potential.potential import Potential
from tests.mlip_train.assess.calculators import OfVolume, emt
from tests.mlip_train.frames import cluster, structure, with_results

V0 = 12.0  # Å³/atom


def labelled(atoms: Atoms, energy: float = -1.0) -> Structure:
    return structure(with_results(atoms, energy=energy, forces=np.zeros((len(atoms), 3))))


def copper(volume: float = V0) -> Structure:
    return labelled(bulk("Cu", a=(4 * volume) ** (1 / 3)))


def parabola(volume: float) -> float:
    return 0.03 * (volume - V0) ** 2 - 4.0


def dip(volume: float, at: float, depth: float, width: float = 0.3) -> float:
    return -depth * float(np.exp(-(((volume - at) / width) ** 2)))


def told(energy: Callable[[float], float], *data: Structure) -> str:
    check = check_volume(OfVolume(energy), data or [copper()])
    assert check.passed is False
    assert check.finding.endswith(". Add stretched and compressed cells of this composition to the data")
    return check.finding


def test_copper_has_the_bulk_modulus_of_its_potential() -> None:
    check = check_volume(emt(), [copper()])
    assert check.passed, check.finding
    assert check.numbers["bulk_modulus_GPa_Cu"] == pytest.approx(134, abs=3)  # ASE's own value for EMT
    assert check.numbers["volume_A3_per_atom_Cu"] == pytest.approx(11.57, abs=0.05)
    assert check.finding == "One minimum of the energy against volume: Cu 11.57 Å³/atom, bulk modulus 133 GPa"
    (panel,) = check.panels
    computed, fitted = panel.curves
    assert (panel.title, computed.style, fitted.style) == ("Cu", "points", "line")
    assert min(computed.y) == 0.0
    at, energy = np.array([(x, y) for x, y in zip(computed.x, computed.y, strict=True) if x <= fitted.x[-1]]).T
    assert len(at) >= 12
    np.testing.assert_allclose(np.interp(at, fitted.x, fitted.y), energy, atol=5e-3)


def test_atoms_move_with_their_cell() -> None:
    check = check_volume(emt(), [labelled(bulk("Cu", a=3.6, cubic=True))])
    assert check.numbers["bulk_modulus_GPa_Cu"] == pytest.approx(134, abs=3)


def test_a_trained_potential_passes(potential: Potential, structures: list[Structure]) -> None:
    check = check_volume(calculator_of(potential.yace, potential.baseline), structures)
    assert check.passed, check.finding
    assert check.numbers["volume_A3_per_atom_Si"] == pytest.approx(20.4, abs=1.5)
    assert check.numbers["bulk_modulus_GPa_Si"] == pytest.approx(90, abs=30)


def test_the_modulus_of_a_known_curve_is_found() -> None:
    known = OfVolume(lambda v: birchmurnaghan(v, -4.0, 100 * GPa, 4.5, V0))
    check = check_volume(known, [copper(1.1 * V0)])
    assert check.numbers == pytest.approx({"volume_A3_per_atom_Cu": V0, "bulk_modulus_GPa_Cu": 100.0}, rel=1e-4)


@pytest.mark.parametrize("volume", [0.65 * V0, 0.8 * V0, 1.3 * V0, 1.7 * V0])
def test_data_that_are_strained_themselves_do_not_hide_the_minimum(volume: float) -> None:
    check = check_volume(OfVolume(parabola), [copper(volume)])
    assert check.passed, check.finding
    assert check.numbers["volume_A3_per_atom_Cu"] == pytest.approx(V0, rel=0.01)


def test_two_minima_fail() -> None:
    assert "the energy has 2 minima between 9.65 and 14.3 Å³/atom, at 10.6 and 12 Å³/atom" in told(
        lambda v: parabola(v) + dip(v, 10.6, 0.06)
    )


def test_an_end_where_the_energy_falls_is_a_minimum_that_should_not_be() -> None:
    assert "the energy has 2 minima" in told(lambda v: parabola(v) + dip(v, 14.5, 0.1, 0.5))


def test_a_ripple_is_no_minimum() -> None:
    soft = OfVolume(lambda v: 0.002 * (v - V0) ** 2 + 4e-4 * np.cos(2 * np.pi * (v - V0)))
    assert check_volume(soft, [copper()]).passed


@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_no_minimum_fails(slope: float) -> None:
    assert "the energy has no minimum between" in told(lambda v: slope * v)


@pytest.mark.parametrize(
    ("share", "sentence"), [((1, -1), "the bulk modulus is -"), ((2, 1), "follow no equation of state")]
)
def test_a_fit_that_makes_no_sense_fails(
    monkeypatch: pytest.MonkeyPatch, share: tuple[int, int], sentence: str
) -> None:
    fit = EquationOfState.fit

    def spoilt(state: EquationOfState, warn: bool) -> tuple[float, float, float]:
        volume, energy, modulus = fit(state, warn)
        return share[0] * volume, energy, share[1] * modulus

    monkeypatch.setattr(EquationOfState, "fit", spoilt)
    assert sentence in told(parabola)


def test_energies_that_no_equation_fits_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(state: EquationOfState, warn: bool) -> None:
        raise RuntimeError

    monkeypatch.setattr(EquationOfState, "fit", fail)
    assert "follow no equation of state" in told(parabola)


def test_an_energy_that_is_no_number_fails() -> None:
    check = check_volume(OfVolume(lambda v: np.nan if v < 11 else parabola(v)), [copper()])
    assert check.passed is False
    assert "Cu (a.extxyz frame 0): the energy at 9.97 Å³/atom is not a finite number" in check.finding
    assert np.isfinite([*check.panels[0].curves[0].y, *check.numbers.values()]).all()
    assert check_volume(OfVolume(lambda v: np.inf), [copper()]).passed is False


def slab(vacuum: float) -> Atoms:
    atoms = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=vacuum)
    atoms.pbc = True
    return atoms


def test_without_bulk_there_is_nothing_to_check() -> None:
    check = check_volume(emt(), [labelled(slab(8.0)), structure(cluster())])
    assert (check.passed, check.finding) == (None, "The data hold no bulk structure of up to 64 atoms")
    large = labelled(bulk("Cu", cubic=True).repeat((2, 3, 3)))
    assert check_volume(emt(), [large]).passed is None


def test_the_lowest_bulk_structure_of_each_composition_is_strained() -> None:
    calculator = emt()
    low, high = labelled(bulk("Cu", a=3.6, cubic=True), -8.0), labelled(bulk("Cu", a=3.7), -1.0)
    check = check_volume(calculator, iter([high, labelled(slab(8.0), -99.0), low, labelled(bulk("Al"))]))
    assert [panel.title for panel in check.panels] == ["Cu", "Al"]
    assert {len(atoms) for atoms in calculator.seen if atoms.symbols[0] == "Cu"} == {4}


def test_of_equal_energies_the_smaller_cell_is_taken() -> None:
    calculator = emt()
    large, small = labelled(bulk("Cu", a=3.6, cubic=True), -14.0004), labelled(bulk("Cu", a=3.6), -3.5)
    check_volume(calculator, [large, small])
    assert {len(atoms) for atoms in calculator.seen} == {1}


def test_one_wrong_composition_fails_all() -> None:
    check = check_volume(
        OfVolume(lambda v: parabola(v) if v > 11 else -v), [copper(), labelled(bulk("Ag", a=4.9))]
    )
    assert check.passed is False


def test_five_compositions_are_enough() -> None:
    metals = ["Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"]
    data = [labelled(bulk(metal)) for metal in [*metals, *metals[3:]]]
    titles = [panel.title for panel in check_volume(emt(), data).panels]
    assert titles == ["Au", "Ni", "Pd", "Pt", "Ag"]
