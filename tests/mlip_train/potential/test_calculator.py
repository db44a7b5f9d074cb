from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from mlip_train.campaign.campaign import Campaign
from tests.mlip_train.planning import publish_linear
from tests.mlip_train.references import DELTA, FAR, LJ

Make = Callable[..., Campaign]


@pytest.mark.parametrize("reference", [FAR, LJ], ids=["delta", "lj"])
def test_forces_and_stress_of_the_sum_are_derivatives_of_its_energy(
    make_linear: Make, reference: dict[str, Any]
) -> None:
    calculator = publish_linear(make_linear(reference), 1).calculator()
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.3, seed=3)
    atoms.calc = calculator
    baseline = calculator.baseline.compute(atoms)
    assert np.abs(baseline.forces).max() > 0.1
    assert np.abs(baseline.stress).max() > 1e-3
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-4), atol=1e-5)


def test_a_cluster_has_no_stress_of_ace_alone(make_linear: Make) -> None:
    calculator = publish_linear(make_linear(DELTA), 1).calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1.5]], cell=[10, 10, 10]))
    assert "stress" not in calculator.results
