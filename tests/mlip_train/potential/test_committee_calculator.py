from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlip_train.ace.library import PyACECalculator
from mlip_train.campaign.campaign import Campaign
from tests.mlip_train.planning import publish_linear
from tests.mlip_train.references import CORE, FAR

Make = Callable[..., Campaign]


def a_test_structure(campaign: Campaign) -> Atoms:
    return next(campaign.store.iterate("test")).structure.to_atoms()


@pytest.mark.parametrize("reference", [CORE, FAR], ids=["core", "delta"])
def test_a_published_committee_tells_how_certain_its_potential_is(
    make_committee: Make, reference: dict[str, Any]
) -> None:
    campaign = make_committee(reference=reference)
    potential = publish_linear(campaign, 1)

    formed, atoms = potential.record.committee, a_test_structure(campaign)
    assert formed is not None
    assert (formed.members, formed.n_structures) == ((1, 2, 3), campaign.store.count("test"))
    assert formed.energy is not None
    assert formed.force is not None
    calculator, plain = potential.committee_calculator(), potential.calculator()
    for one in (calculator, plain):
        one.calculate(atoms)
    for key in ("energy", "forces", "stress", "gamma"):
        np.testing.assert_array_equal(calculator.results[key], plain.results[key])
    members = [PyACECalculator(str(file)) for file in potential.members]
    for member in members:
        member.calculate(atoms)
    energies = np.array([member.results["energy"] for member in members]) / len(atoms)
    forces = np.array([member.results["forces"] for member in members])
    of_energy = formed.energy.calibrated(energies.std(ddof=1, keepdims=True))
    of_force = formed.force.calibrated(np.sqrt((forces.std(axis=0, ddof=1) ** 2).mean(axis=1)))
    assert calculator.results["energy_std"] == pytest.approx(len(atoms) * of_energy.item())
    np.testing.assert_allclose(calculator.results["forces_std"], of_force)
    assert of_force.shape == (len(atoms),)
    assert min(of_force.min(), of_energy.min()) > 0


def test_calibrated_spread_and_error_are_the_same_over_the_test_set(make_committee: Make) -> None:
    campaign = make_committee()
    potential = publish_linear(campaign, 1)
    calculator = potential.committee_calculator()
    energies, forces = [], []
    for row in campaign.store.iterate("test"):
        atoms = row.structure.to_atoms()
        calculator.calculate(atoms)
        energies.append(1e3 * calculator.results["energy_std"] / len(atoms))
        forces.append(1e3 * calculator.results["forces_std"])
    assert potential.errors.test is not None
    overall = potential.errors.test.overall
    assert np.sqrt(np.mean(np.square(energies))) == pytest.approx(overall.energy_rmse)
    assert np.sqrt(np.mean(np.concatenate(forces) ** 2)) == pytest.approx(overall.force_rmse)


def test_the_uncertainty_of_a_turned_structure_is_the_same(make_committee: Make) -> None:
    campaign = make_committee()
    calculator, atoms = publish_linear(campaign, 1).committee_calculator(), a_test_structure(campaign)
    results = []
    for angle in (0, 33):
        atoms.rotate(angle, (1, 2, 3), rotate_cell=True)
        calculator.calculate(atoms)
        results.append(calculator.results)
    assert results[0]["energy_std"] == pytest.approx(results[1]["energy_std"], rel=1e-4)
    np.testing.assert_allclose(results[0]["forces_std"], results[1]["forces_std"], rtol=1e-4)
