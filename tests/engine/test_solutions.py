"""Solutions that the real engine continues: it must see the loss that the solver says it has reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_train import Campaign, train
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.metrics import read_metrics
from tests.mlip_train.planning import planned

pytestmark = [pytest.mark.usefixtures("real_engine")]


def alloys(elements: list[str], n: int) -> list[Atoms]:
    """Disordered cells labelled with EMT, three of four with stress; some count more than others."""
    random, frames = np.random.default_rng(11), []
    for index in range(n):
        atoms = bulk("Cu", "fcc", a=random.uniform(3.7, 4.0), cubic=True).repeat((2, 1, 1))
        atoms.symbols = random.choice(elements, len(atoms))
        atoms.rattle(0.1, rng=random)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if index % 4:
            results["stress"] = atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "even" if index % 2 else "odd"
        atoms.info["weight"] = 1.0 + index % 3
        frames.append(atoms)
    frames[1].arrays["weights"] = np.linspace(0, 2, len(frames[1]))
    frames[2].info["weight"] = 0.0
    return frames


@pytest.mark.parametrize("elements", [["Au", "Cu"], ["Ag", "Au", "Cu"]])
def test_the_engine_begins_at_the_loss_of_the_solution(
    make_campaign: Callable[..., Campaign], tmp_path: Path, elements: list[str]
) -> None:
    weights: dict[str, Any] = {"config_type": {"odd": 2.5}}
    basis = {
        "cutoff": 4.5,
        "functions_per_element": 20,
        "nradmax_by_orders": [4, 2, 1],
        "lmax_by_orders": [0, 1, 1],
    }
    campaign = make_campaign(
        real_engine=True, elements=elements, basis=basis, fit={"max_epochs": 1}, test={"fraction": 0.2},
        weights=weights,
    )  # fmt: skip
    ase.io.write(tmp_path / "alloys.traj", alloys(elements, 30))
    accumulate(campaign, [tmp_path / "alloys.traj"])
    plan = planned(campaign, 1)
    assert plan.solution is not None
    assert plan.solution.virial_rmse is not None
    assert plan.solution.stress_share > 0.0

    train(plan)

    assert read_metrics(plan.run.metrics)["loss"].iloc[0] == pytest.approx(plan.solution.loss, rel=1e-6)
