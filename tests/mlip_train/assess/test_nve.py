"""MD at constant energy with potentials that keep it constant, and with others that do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_train.assess.nve import check_nve, choose_start
from mlip_train.atoms.structure import Structure
from mlip_train.config.assessment import ShortMD
from mlip_train.potential.calculator import calculator_of
from mlip_train.potential.potential import Potential
from tests.mlip_train.assess.calculators import Changed, Pairwise, emt
from tests.mlip_train.frames import cluster, crystal, structure, with_results

RULE = ShortMD()
MORE_DATA = "Add structures in which atoms are displaced"
SHORTER = "set physics.nve.timestep below"


def labelled(atoms: Atoms, energy: float = -1.0, **where: Any) -> Structure:
    return structure(with_results(atoms, energy=energy, forces=np.zeros((len(atoms), 3))), **where)


def copper(**where: Any) -> Structure:
    return labelled(bulk("Cu", a=3.6, cubic=True), **where)


def row(symbols: str, *distances: float) -> Structure:
    atoms = Atoms(symbols)
    atoms.positions[:, 0] = np.cumsum([0.0, *distances])
    return labelled(atoms)


def spring(stiffness: float, length: float) -> Pairwise:
    return Pairwise(lambda r: stiffness / 2 * (r - length) ** 2, lambda r: stiffness * (r - length))


def test_copper_passes() -> None:
    check = check_nve(emt(), None, copper(source="cu.extxyz", frame=7), RULE, 5.0)
    assert check.passed, check.finding
    assert check.finding.startswith(
        "MD at constant energy from cu.extxyz frame 7 (Cu32), 300 K, 1 fs, 200 steps: no atom lost, total energy "
    )
    assert abs(check.numbers["drift_meV_per_atom_per_ps"]) < 0.01
    assert 0.001 < check.numbers["excursion_meV_per_atom"] < 0.02
    assert 250 < check.numbers["highest_temperature_K"] < 301
    assert [panel.title for panel in check.panels] == ["Total energy", "Temperature"]
    assert all(len(panel.curves[0].x) == RULE.steps + 1 for panel in check.panels)
    assert check.panels[0].curves[0].x[-1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "rule",
    [
        ShortMD(steps=10, timestep=4.0),
        ShortMD(steps=20, timestep=5.0),
        ShortMD(temperature=2000),
        ShortMD(timestep=5.0),
    ],
)
def test_copper_passes_other_runs(rule: ShortMD) -> None:
    check = check_nve(emt(), None, copper(), rule, 5.0)
    assert check.passed, check.finding


def test_a_trained_potential_passes_and_its_grades_are_told(
    potential: Potential, structures: list[Structure]
) -> None:
    fast = calculator_of(potential.yace, potential.baseline)
    check = check_nve(fast, potential.calculator(), choose_start(structures), RULE, potential.record.cutoff)
    assert check.passed, check.finding
    graded = check.panels[2]
    assert graded.title == "Extrapolation grade"
    assert graded.curves[0].x == pytest.approx(np.arange(0, 0.201, 0.02))
    assert check.numbers["gamma_max"] == pytest.approx(max(graded.curves[0].y), abs=1e-6)
    assert f"is {check.numbers['gamma_max']:.2g} at" in check.finding


def test_large_grades_are_not_judged() -> None:
    grading = SimpleNamespace(calculate=lambda atoms: None, results={"gamma": np.array([1.0, 1e6])})
    check = check_nve(emt(), grading, copper(), ShortMD(steps=40), 5.0)
    assert check.passed
    assert check.finding.endswith("The largest gamma on the way, which is not judged, is 1e+06 at 0 ps")


def test_grades_that_are_no_numbers_are_left_out() -> None:
    grading = SimpleNamespace(calculate=lambda atoms: None, results={"gamma": np.array([np.nan, 1.0])})
    check = check_nve(emt(), grading, copper(), ShortMD(steps=10), 5.0)
    assert check.passed
    assert "gamma_max" not in check.numbers


@pytest.mark.parametrize(
    ("temperature", "twist", "passed"),
    [(300, 0.01, True), (300, 0.05, False), (30, 0.1, False), (3000, 0.02, True)],
)
def test_forces_that_turn_around_heat(temperature: float, twist: float, passed: bool) -> None:
    sites = bulk("Cu", a=3.6, cubic=True).repeat(2).positions

    def around(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
        return energy, forces + twist * np.cross([0, 0, 1], atoms.positions - sites)  # eV/Å²

    check = check_nve(Changed(around), None, copper(), ShortMD(temperature=temperature), 5.0)
    assert check.passed is passed, check.finding
    assert check.numbers["drift_meV_per_atom_per_ps"] > 0.1
    if not passed:
        assert "the total energy drifts by" in check.finding
        assert SHORTER in check.finding
        assert MORE_DATA not in check.finding


def test_forces_that_are_not_those_of_the_energy_stop_the_run() -> None:
    calculator = Changed(lambda atoms, energy, forces: (1.5 * energy, forces))
    check = check_nve(calculator, None, copper(), RULE, 5.0)
    assert check.passed is False
    assert "meV/atom off its start. No atom is lost" in check.finding
    assert SHORTER in check.finding
    assert len(calculator.seen) < 60
    assert len(check.panels[0].curves[0].x) == len(calculator.seen)


@pytest.mark.parametrize(("timestep", "passed"), [(0.25, True), (2.5, False), (4.0, False)])
def test_a_light_molecule_needs_a_short_step(timestep: float, passed: bool) -> None:
    check = check_nve(spring(30.0, 0.74), None, row("H2", 0.74), ShortMD(timestep=timestep), 5.0)
    assert check.passed is passed, check.finding
    assert (SHORTER in check.finding) is not passed


@pytest.mark.parametrize("what", ["energy", "forces"])
def test_numbers_that_are_not_finite_stop_the_run(what: str) -> None:
    calls = []

    def broken(atoms: Atoms, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(1)
        if len(calls) < 13:
            return energy, forces
        return (np.nan, forces) if what == "energy" else (energy, np.where(forces > 0, np.inf, forces))

    check = check_nve(Changed(broken), None, copper(), RULE, 5.0)
    assert check.passed is False
    assert "after 0.012 ps energy or forces are not finite numbers" in check.finding
    assert MORE_DATA in check.finding
    assert len(check.panels[0].curves[0].y) == len(calls) - 1 == 12
    assert np.isfinite(list(check.numbers.values())).all()


def test_nothing_is_drawn_of_a_run_that_did_not_begin() -> None:
    check = check_nve(Changed(lambda atoms, energy, forces: (np.nan, forces)), None, copper(), RULE, 5.0)
    assert (check.passed, check.numbers, check.panels) == (False, {}, ())


def test_an_atom_that_flies_away_is_lost() -> None:
    repulsion = Pairwise(lambda r: 1 / r, lambda r: -1 / r**2)
    check = check_nve(repulsion, None, row("Li2", 3.0), ShortMD(steps=400), 4.5)
    assert check.passed is False
    assert "atom 0 (Li) lost its neighbours within 4.5 Å" in check.finding
    assert MORE_DATA in check.finding


def test_an_atom_that_was_alone_from_the_start_is_not_lost() -> None:
    bond = Pairwise(
        lambda r: np.where(r < 4, 2.0 * (r - 3.0) ** 2, 2.0), lambda r: np.where(r < 4, 4.0 * (r - 3.0), 0.0)
    )
    check = check_nve(bond, None, row("Li3", 3.0, 5.0), ShortMD(temperature=30), 4.5)
    assert check.passed, check.finding


def test_atoms_that_fall_into_each_other_are_caught_in_the_act() -> None:
    attraction = Pairwise(lambda r: -0.7 / r, lambda r: 0.7 / r**2)
    check = check_nve(attraction, None, row("Li2", 2.6), ShortMD(steps=2000), 4.5)
    assert check.passed is False
    assert "atoms 0 and 1 (Li and Li) came as close as 1." in check.finding
    assert "less than half the 2.56 Å at which they touch" in check.finding
    assert MORE_DATA in check.finding


def test_atoms_that_touch_may_be_small() -> None:
    assert check_nve(spring(1.0, 0.9), None, row("LiH", 0.9), RULE, 4.5).finding.count("came as close") == 1
    assert check_nve(spring(5.0, 1.2), None, row("LiH", 1.2), RULE, 4.5).passed


def test_atoms_that_get_as_hot_as_plasma_are_caught() -> None:
    check = check_nve(spring(8.0, 2.5), None, row("Li2", 3.6), RULE, 4.5)
    assert check.passed is False
    assert " K hot. Add structures" in check.finding


def test_forces_that_would_shoot_an_atom_through_the_cell_are_not_followed() -> None:
    calculator = Changed(lambda atoms, energy, forces: (energy, forces + 1e5))
    check = check_nve(calculator, None, copper(), RULE, 5.0)
    assert check.passed is False
    assert "Å in one step (forces up to 1.73e+05 eV/Å). Add structures" in check.finding
    assert len(calculator.seen) == 1


@pytest.mark.parametrize(
    ("atoms", "n_atoms"),
    [
        (bulk("Cu", a=3.6), 32),
        (bulk("Cu", a=3.6, cubic=True), 32),
        (bulk("Cu", a=3.6, cubic=True).repeat((1, 1, 5)), 40),
        (bulk("Cu", a=3.6, cubic=True).repeat((3, 3, 1)), 36),
        (bulk("Cu", a=3.6, cubic=True).repeat(4), 256),
    ],
)
def test_a_small_cell_is_repeated_along_its_shortest_vectors(atoms: Atoms, n_atoms: int) -> None:
    calculator = emt()
    check_nve(calculator, None, labelled(atoms), ShortMD(steps=10), 5.0)
    seen = calculator.seen[0]
    assert n_atoms <= len(seen) <= n_atoms + 8
    assert max(seen.cell.lengths()) <= max(18.1, *atoms.cell.lengths())


@pytest.mark.parametrize("start", [copper(), row("Cu4", 2.4, 2.5, 2.6)], ids=["bulk", "cluster"])
def test_the_start_is_warm_and_neither_drifts_nor_spins(start: Structure) -> None:
    calculators = [emt(), emt()]
    for calculator in calculators:
        check_nve(calculator, None, start, ShortMD(steps=10), 5.0)
    first = calculators[0].seen[0]
    assert 50 < first.get_temperature() < 301
    np.testing.assert_allclose(first.get_momenta().sum(axis=0), 0, atol=1e-10)
    if not start.pbc.any():
        np.testing.assert_allclose(first.get_angular_momentum(), 0, atol=1e-10)
    np.testing.assert_array_equal(first.get_momenta(), calculators[1].seen[0].get_momenta())


def test_a_long_run_leaves_a_curve_that_can_be_stored() -> None:
    check = check_nve(spring(1.0, 3.0), None, row("Li2", 3.0), ShortMD(steps=1200), 4.5)
    assert {len(curve.x) for panel in check.panels for curve in panel.curves} == {401}
    assert check.panels[0].curves[0].x[-1] == pytest.approx(1.2)


def test_without_a_structure_nothing_is_run() -> None:
    check = check_nve(emt(), None, choose_start([]), RULE, 5.0)
    assert (check.passed, check.word) == (None, "not checked")


def test_the_start_is_the_lowest_in_energy_of_the_bulk() -> None:
    frames = [
        structure(cluster(distance=2.2, energy=-99.0)),
        structure(crystal(a=5.3, energy=-9.0)),
        structure(crystal(a=5.4, energy=-10.0)),
        structure(crystal(a=5.5, energy=-9.5)),
    ]
    assert choose_start(iter(frames)) is frames[2]
    assert choose_start(frames[:1]) is frames[0]
    assert choose_start([*frames, structure(cluster("SiGe")), structure(cluster("SiGe"))]) is frames[2]


def test_the_start_is_of_many_elements_and_a_frequent_composition() -> None:
    frames = [
        structure(crystal("Si2", energy=-1.0)),
        structure(crystal("Si2", a=5.5, energy=-1.0)),
        structure(crystal("SiGe", energy=-1.0)),
    ]
    assert choose_start(frames) is frames[2]
    carbides = [structure(crystal("SiC", energy=-1)), structure(crystal("SiC", a=5.0, energy=-2))]
    assert choose_start([*frames, *carbides]) is carbides[1]


def test_the_start_is_not_large_unless_all_are() -> None:
    large = labelled(bulk("Si", cubic=True).repeat((4, 4, 2)), energy=-9e3)
    larger = labelled(bulk("Si", cubic=True).repeat((4, 4, 3)), energy=-9e4)
    small, other = structure(crystal("Si2", energy=-1.0)), structure(crystal("Ge2", energy=-1.0))
    assert choose_start([large, larger, small]) is small
    assert choose_start([large, larger, other]) is other
    assert choose_start([larger, large]) is large
