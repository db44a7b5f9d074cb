from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlip_train.ace.library import PyACECalculator
from mlip_train.campaign.campaign import Campaign
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.selection import chosen_structures
from tests.mlip_train.planning import solved

Make = Callable[..., Campaign]


def test_the_graded_potential_knows_the_structures_it_learned_from(make_alloy: Make) -> None:
    campaign = make_alloy(30, ("Al", "Ni"), max_structures=3)
    plan = solved(campaign, 1)
    run, grades = plan.run, grade_potential(plan)
    assert max(grades.values()) <= 1.01
    calculator = PyACECalculator(str(run.fitted_potential))
    calculator.set_active_set(str(run.inverse_active_set))
    for structure in chosen_structures(campaign, run)():
        calculator.calculate(structure.to_atoms())
        assert np.max(calculator.results["gamma"]) <= 1.01
    outside = 0.0
    for row in campaign.store.iterate("train"):
        calculator.calculate(row.structure.to_atoms())
        outside = max(outside, float(np.max(calculator.results["gamma"])))
    assert outside > 1.01  # what was not learned from is not covered up
