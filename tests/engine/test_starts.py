"""Starts on the real engine: what continues, and the ways of not continuing that it does not report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml

from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.ace.library import ACEBBasisSet, BBasisConfiguration
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import TrainingFailedError
from mlip_train.fit.training import finish_fit
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.command import find_engine
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.pacemaker.scratch import EngineScratch
from tests.engine.residuals import loss
from tests.engine.test_pacemaker import copper_gold
from tests.mlip_train.bbasis import config_of, write_random
from tests.mlip_train.planning import edit, planned, publish_linear

pytestmark = [pytest.mark.usefixtures("real_engine")]

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


def run_engine(plan: FitPlan) -> int:
    EngineScratch(plan.run.scratch).renew()
    command = [*find_engine(["pacemaker"]), str(plan.run.input_yaml)]
    done = subprocess.run(command, cwd=plan.run.scratch, capture_output=True, text=True, check=False)
    plan.run.log.write_text(done.stderr + done.stdout)
    return done.returncode


def linear_campaign(make_campaign: MakeCampaign, **keys: Any) -> Campaign:
    """A campaign whose first potential is the linear solution, with no second density to be idle."""
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 0}, test={"fraction": 0}, **keys)
    edit(campaign, basis={"embedding": "linear"})
    return campaign


@pytest.fixture
def second(make_campaign: MakeCampaign, write_batch: WriteBatch) -> FitPlan:
    """A fit that is to continue a first, linear generation."""
    campaign = linear_campaign(make_campaign)
    accumulate(campaign, [write_batch(0, 4)])
    publish_linear(campaign, 1)
    edit(campaign, fit={"max_epochs": 3})
    accumulate(campaign, [write_batch(4, 6)])
    return planned(campaign, 2)


def with_ladder(plan: FitPlan, native: dict[str, Any]) -> None:
    native["fit"]["ladder_step"] = 4


def with_an_equal_target(plan: FitPlan, native: dict[str, Any]) -> None:
    native["potential"] = {**basis_section(plan.config), "initial_potential": native["potential"]}


def with_the_marks_of_a_finished_fit(plan: FitPlan, native: dict[str, Any]) -> None:
    configuration = BBasisConfiguration(str(plan.run.start_potential))
    configuration.metadata["_fit_cycles"] = "1"
    configuration.save(str(plan.run.start_potential))


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        (with_ladder, "did not continue from"),
        (with_an_equal_target, "did not complete a single iteration"),
        (with_the_marks_of_a_finished_fit, "did not complete a single iteration"),
    ],
)
def test_a_fit_that_silently_does_not_continue_is_a_failure(
    second: FitPlan, sabotage: Callable[[FitPlan, dict[str, Any]], None], told: str
) -> None:
    native = yaml.safe_load(second.run.input_yaml.read_text())
    sabotage(second, native)
    second.run.input_yaml.write_text(yaml.safe_dump(native))
    return_code = run_engine(second)
    with pytest.raises(TrainingFailedError, match=told):
        finish_fit(second, return_code, 1.0)
    assert not second.run.fit_record.exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_larger_basis_continues_the_smaller_one(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = linear_campaign(make_campaign)
    first = train_generation(campaign.root, [write_batch(0, 5)]).potential
    larger = {"functions_per_element": 16, "nradmax_by_orders": [6, 3], "lmax_by_orders": [0, 2]}
    edit(campaign, basis=larger, fit={"max_epochs": 4})
    potential = train_generation(campaign.root, [write_batch(5, 8)]).potential
    assert first is not None
    assert potential is not None
    start = potential.record.lineage.start
    assert (start.kind, start.generation, start.grown_by) == ("previous", 1, 8)
    rows = [row.structure for row in campaign.store.iterate("train")]
    expected = loss(first, rows, campaign.config.loss_weights.kappa)
    assert potential.record.history.loss[0] == pytest.approx(expected, rel=1e-3)
    assert potential.record.history.loss[-1] < potential.record.history.loss[0]


@pytest.mark.usefixtures("prefect_server")
def test_a_new_element_joins(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    frames = copper_gold(8)
    pure = [atoms for atoms in frames if set(atoms.symbols) == {"Cu"}]
    ase.io.write(tmp_path / "copper.traj", pure)
    ase.io.write(tmp_path / "alloys.traj", [atoms for atoms in frames if atoms not in pure])
    campaign = linear_campaign(make_campaign, elements=["Cu"])
    train_generation(campaign.root, [tmp_path / "copper.traj"])
    edit(campaign, elements=["Au", "Cu"], basis={"functions_per_element": 30}, fit={"max_epochs": 4})
    potential = train_generation(campaign.root, [tmp_path / "alloys.traj"]).potential
    assert potential is not None
    assert potential.record.lineage.start.kind == "previous"
    assert potential.record.lineage.start.grown_by > 0
    assert potential.record.history.loss[-1] < potential.record.history.loss[0]


@pytest.mark.usefixtures("prefect_server")
def test_a_second_density_that_the_linear_solution_left_idle_is_trained(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 0}, test={"fraction": 0})
    train_generation(campaign.root, [write_batch(0, 5)])
    edit(campaign, fit={"max_epochs": 4})
    potential = train_generation(campaign.root, [write_batch(5, 7)]).potential
    assert potential is not None
    assert potential.record.lineage.start.kind == "linear"
    begun, fitted = (second_density(path) for path in (campaign.generation(2).start_potential, potential.yaml))
    assert begun.all()
    assert not np.isclose(begun, fitted, rtol=1e-6).any()
    assert potential.record.history.loss[-1] < potential.record.history.loss[0]


def second_density(bbasis: Path) -> np.ndarray:
    blocks = BBasisConfiguration(str(bbasis)).funcspecs_blocks
    return np.array([function.coeffs[1] for block in blocks for function in block.funcspecs])


@pytest.mark.parametrize("elements", [["Al"], ["Al", "Ni"]])
def test_the_trainer_orders_coefficients_as_the_curvature_does(tmp_path: Path, elements: list[str]) -> None:
    from tensorpotential.compat.pace.potentials.ace import ACE  # slow to import

    bbasis = write_random(tmp_path / "p.yaml", config_of(elements, functions_per_element=10))
    configuration = BBasisConfiguration(str(bbasis))
    assert np.array_equal(ACE(configuration).get_coefs().numpy(), ACEBBasisSet(configuration).all_coeffs)


@pytest.mark.usefixtures("prefect_server")
def test_early_stopping_that_meets_the_last_iteration(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    stopping = {"min_relative_change": 0.9, "patience": 5}
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 5, "early_stopping": stopping})
    potential = train_generation(campaign.root, [write_batch(0, 8)]).potential
    assert potential is not None
    assert potential.record.history.iteration[-1] <= 5
    assert potential.record.convergence in ("flat (early stopping)", "out of epochs")


@pytest.mark.usefixtures("prefect_server")
def test_a_fit_ends_well_when_its_time_is_up(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 500, "max_hours": 1e-4})
    potential = train_generation(campaign.root, [write_batch(0, 5)]).potential
    assert potential is not None
    assert potential.record.convergence == "out of time (fit.max_hours)"
    assert 1 <= potential.record.history.iteration[-1] < 500
    assert json.loads(campaign.current_pointer.read_text())["generation"] == 1
