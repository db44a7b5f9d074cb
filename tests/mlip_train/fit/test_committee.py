"""Committees of linear solutions on real silicon data, from their samples to the published bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, read_plan
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import (
    InconsistentPotentialError,
    InputError,
    TrainingFailedError,
)
from mlip_train.fit import committee
from mlip_train.fit.closing import close_fit
from mlip_train.fit.committee import form_committee, members_of, prepare_member, solve_members
from mlip_train.fit.selection import chosen_times
from mlip_train.fit.starting import solve_starts
from mlip_train.fit.training import finish_linear
from mlip_train.intake.accumulation import accumulate
from mlip_train.records.committee import CommitteeRecord
from tests.mlip_train.planning import edit, planned, publish_linear
from tests.mlip_train.references import CORE, LINEAR

Make = Callable[..., Campaign]


def test_members_are_closed_at_short_distance_where_their_generation_is(make_committee: Make) -> None:
    campaign = make_committee(reference=CORE)
    potential = publish_linear(campaign, 1)
    (own,) = load_bbasis(potential.yaml).funcspecs_blocks
    for number in (1, 2, 3):
        run = campaign.generation(1).member(number)
        (block,) = load_bbasis(run.closed_potential).funcspecs_blocks
        assert (block.r_in, block.delta_in, block.inner_cutoff_type) == (own.r_in, own.delta_in, "zbl")
    calculator = potential.committee_calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0.5]]))
    assert calculator.results["energy"] > 100
    assert calculator.results["energy_std"] < 1e-6  # where ZBL has taken over, no member knows more than another


def test_a_trained_member_is_given_each_structure_as_often_as_it_was_drawn(make_committee: Make) -> None:
    campaign = make_committee(fit={"max_epochs": 3})
    plan = planned(campaign, 1)
    member = prepare_member(members_of(plan)[1])

    data = pd.read_pickle(member.run.train_data, compression="gzip")
    assert Counter(data["name"]) == chosen_times(member.run)
    assert member.run == campaign.generation(1).member(2)
    assert not member.run.test_data.exists()
    assert member.start == plan.start
    assert member.start_errors is not None
    assert plan.start_errors is not None
    assert member.start_errors.n_structures == plan.n_train
    assert member.start_errors.energy_rmse != plan.start_errors.energy_rmse
    assert read_plan(campaign, 1, member.identity, 2) == member
    with pytest.raises(InputError, match="is not the plan of the fit that was asked for"):
        read_plan(campaign, 1, plan.identity, 2)


def test_what_was_solved_before_is_not_solved_again(make_committee: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_committee()
    plan, solved, really = planned(campaign, 1), [], solve_starts

    def note(plan: FitPlan, runs: Sequence[GenerationDirectory], *others: Any) -> None:
        solved.append([run.root.name for run in runs])
        really(plan, runs, *others)

    monkeypatch.setattr(committee, "solve_starts", note)
    members = solve_members(plan)
    before = [member.run.fitted_potential.read_bytes() for member in members]
    members[1].run.fit_record.unlink()  # as an interruption leaves it
    solve_members(plan)
    assert solved == [["member_01", "member_02", "member_03"], ["member_02"]]
    assert [member.run.fitted_potential.read_bytes() for member in members] == before

    edit(campaign, committee={"members": 5})
    solve_members(planned(campaign, 1))
    assert solved[2:] == [["member_04", "member_05"]]
    edit(campaign, loss_weights={"energy": 0.5})
    solve_members(planned(campaign, 1))
    assert len(solved[3]) == 5


def test_what_is_no_linear_solution_has_no_solved_members(make_committee: Make) -> None:
    plan = planned(make_committee(), 1).model_copy(update={"solution": None})
    with pytest.raises(TrainingFailedError, match=r"no linear solution to vary; set fit\.max_epochs above 0"):
        solve_members(plan)


def test_more_members_than_fit_into_memory_are_solved_in_turns(
    make_committee: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(make_committee(), 1)
    expected = [member.run.fitted_potential.read_bytes() for member in solve_members(plan)]
    for member in members_of(plan):
        member.run.fit_record.unlink()
    monkeypatch.setattr(committee, "AT_ONCE", 2)
    assert [member.run.fitted_potential.read_bytes() for member in solve_members(plan)] == expected


def test_one_member_has_nothing_to_differ_from(make_committee: Make) -> None:
    plan = planned(make_committee(), 1)
    finish_linear(plan)
    reference, members = close_fit(plan).reference, solve_members(plan)
    with pytest.raises(TrainingFailedError, match="only 1 of 3 members were fitted; it takes two to differ"):
        form_committee(plan, reference, members[:1])
    assert form_committee(plan, reference, members[1:]).members == (2, 3)


def test_without_a_test_set_the_spread_is_not_calibrated(make_committee: Make) -> None:
    campaign = make_committee(test={"fraction": 0})
    potential = publish_linear(campaign, 1)
    formed = potential.record.committee
    assert formed == CommitteeRecord(members=(1, 2, 3), n_structures=0)
    calculator = potential.committee_calculator()
    assert (calculator.of_energy, calculator.of_force) == (None, None)
    calculator.calculate(next(campaign.store.iterate()).structure.to_atoms())
    assert calculator.results["forces_std"].max() > 0


def test_members_that_predict_nothing_finite_are_no_committee(
    make_committee: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(make_committee(), 1)
    finish_linear(plan)
    reference, members = close_fit(plan).reference, solve_members(plan)
    nothing = committee._Compared(*[np.array([np.nan])] * 4)
    monkeypatch.setattr(committee, "_compare_chunk", lambda *_, **__: [nothing])
    with pytest.raises(InconsistentPotentialError, match="not finite for the test set"):
        form_committee(plan, reference, members)


def test_members_of_a_later_generation_continue_its_parent_too(
    make_committee: Make, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_committee(basis=LINEAR)
    publish_linear(campaign, 1)
    edit(campaign, fit={"max_epochs": 3}, committee={"members": 2})
    accumulate(campaign, [write_batch(16, 20)])
    plan = planned(campaign, 2)
    assert plan.start.kind == "previous"
    for member in map(prepare_member, members_of(plan)):
        assert member.start == plan.start
        assert member.run.start_potential.read_bytes() == plan.run.start_potential.read_bytes()
        assert member.run.start_potential.parent == campaign.generation(2).member(member.member).root
        assert str(member.run.start_potential) in member.run.input_yaml.read_text()
