from __future__ import annotations

from collections.abc import Callable

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, earlier_plan, finished_fit, read_plan, recorded_fit
from mlip_train.errors import InputError
from tests.mlip_train.planning import edit, finished, planned

Make = Callable[..., Campaign]


def test_a_plan_knows_its_parent_and_its_files(second: Campaign) -> None:
    plan = planned(second, 2)
    record = second.bundle_record(1)
    assert plan.parent is not None
    assert (plan.parent.generation, plan.parent.record) == (1, record)
    assert (plan.campaign, plan.run) == (second.root, second.generation(2))
    assert FitPlan.load(plan.run.plan) == plan
    assert plan.baseline is None


def test_a_first_plan_has_no_parent(make_small: Make) -> None:
    assert planned(make_small(), 1).parent is None


def test_another_process_reads_the_plan_that_it_was_asked_for(make_small: Make) -> None:
    campaign = make_small()
    plan = planned(campaign, 1)
    assert read_plan(campaign, 1, plan.identity) == plan == earlier_plan(plan.run, plan.identity)
    assert earlier_plan(plan.run, "another") is None
    with pytest.raises(
        InputError, match=r"plan\.json is not the plan of the fit that was asked for; start .* again"
    ):
        read_plan(campaign, 1, "another")


def test_a_plan_of_another_version_of_this_program_is_no_plan(make_small: Make) -> None:
    campaign = make_small()
    plan = planned(campaign, 1)
    plan.run.plan.write_text(plan.run.plan.read_text().replace('"identity"', '"hash"'))
    assert earlier_plan(plan.run, plan.identity) is None
    with pytest.raises(InputError, match="is not the plan"):
        read_plan(campaign, 1, plan.identity)


def test_a_fit_has_ended_when_its_record_potential_and_predictions_are_there(make_small: Make) -> None:
    plan = planned(make_small(), 1)
    assert finished_fit(plan.run, plan.identity) is None
    record = finished(plan)
    assert finished_fit(plan.run, plan.identity) == recorded_fit(plan.run, plan.identity) == record
    assert finished_fit(plan.run, "another") is recorded_fit(plan.run, "another") is None
    plan.run.train_predictions.unlink()
    assert finished_fit(plan.run, plan.identity) is None
    assert recorded_fit(plan.run, plan.identity) == record  # members of a linear committee have none
    plan.run.fitted_potential.unlink()
    assert recorded_fit(plan.run, plan.identity) is None


def test_a_fit_is_named_for_logs_and_knows_how_long_it_may_take(make_small: Make) -> None:
    plan = planned(make_small(), 1)
    assert (plan.name, plan.is_linear, plan.most_iterations) == ("generation 1", False, 8)
    member = plan.model_copy(update={"member": 2})
    assert member.name == "generation 1, member 2"
    later = plan.start.model_copy(update={"resumed_after": 3})
    resumed = plan.model_copy(update={"start": later, "epochs": 5})
    assert resumed.most_iterations == 8
    linear = planned(make_small(name="linear", fit={"max_epochs": 0}), 1)
    assert linear.is_linear
    assert linear.start_errors is None


def test_every_step_of_a_ladder_may_take_all_epochs(make_small: Make) -> None:
    campaign = make_small(start={"first": "zeros"})
    edit(campaign, basis={"ladder_step": 3})
    assert planned(campaign, 1).most_iterations == 8 * 3  # 3, 6 and 8 functions
