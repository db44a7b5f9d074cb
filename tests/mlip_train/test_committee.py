"""Committees of linear solutions on real silicon data, from their samples to the published bundle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlip_train import committee
from mlip_train.accumulation import accumulate
from mlip_train.calibration import CommitteeRecord
from mlip_train.campaign import Campaign, member_file
from mlip_train.committee import form_committee, members_of, prepare_member, solve_members
from mlip_train.deployment import deploy_fit
from mlip_train.errors import (
    ConfigError,
    CorruptFileError,
    InconsistentPotentialError,
    InputError,
    TrainingFailedError,
)
from mlip_train.gate import Verdict
from mlip_train.generation import finish_linear, record_of
from mlip_train.grading import grade_potential
from mlip_train.measuring import evaluate_fit
from mlip_train.pacemaker.bbasis import load_bbasis
from mlip_train.pacemaker.library import PyACECalculator
from mlip_train.planning import FitPlan, plan_fit, read_plan, write_fit
from mlip_train.potential import Potential, PotentialRecord, publish
from mlip_train.selection import chosen_ids, chosen_times, draw_sample, select_structures
from tests.mlip_train.planning import edit

Make = Callable[..., Campaign]

BASIS = {
    "cutoff": 4.5, "functions_per_element": 8, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1],
    "embedding": "linear",
}  # fmt: skip
CORE = {"kind": "zbl", "mode": "core"}
DELTA = {"kind": "zbl", "mode": "delta", "pairs": {"Si-Si": {"inner": 1.1, "outer": 2.8}}}


@pytest.fixture
def make(make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]) -> Make:
    """Makes a campaign of 16 structures, with three members."""

    def made(**keys: Any) -> Campaign:
        usual = {"fit": {"max_epochs": 0}, "committee": {"members": 3}, "test": {"fraction": 0.3}}
        campaign = make_campaign(**{**usual, **keys})
        accumulate(campaign, [write_batch(0, 16)])
        return campaign

    return made


def planned(campaign: Campaign) -> FitPlan:
    plan = plan_fit(campaign, 1, select_structures(campaign, 1))
    write_fit(plan)
    return plan


def publish_with_committee(campaign: Campaign) -> Potential:
    plan = planned(campaign)
    fit, deployment = finish_linear(plan), deploy_fit(plan)
    grade_potential(campaign, 1, 1.01)
    formed = form_committee(plan, deployment.reference, solve_members(plan))
    record = record_of(plan, fit, deployment, evaluate_fit(plan), (), formed)
    return publish(campaign, plan.run, record)


def a_test_structure(campaign: Campaign) -> Atoms:
    return next(campaign.store.iterate("test")).structure.to_atoms()


@pytest.mark.parametrize("reference", [CORE, DELTA], ids=["core", "delta"])
def test_a_published_committee_tells_how_certain_its_potential_is(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference=reference)
    potential = publish_with_committee(campaign)

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


def test_calibrated_spread_and_error_are_the_same_over_the_test_set(make: Make) -> None:
    campaign = make()
    potential = publish_with_committee(campaign)
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


def test_members_are_closed_at_short_distance_where_their_generation_is(make: Make) -> None:
    campaign = make(reference=CORE)
    potential = publish_with_committee(campaign)
    (own,) = load_bbasis(potential.yaml).funcspecs_blocks
    for number in (1, 2, 3):
        run = campaign.generation(1).member(number)
        (block,) = load_bbasis(run.deployed_potential).funcspecs_blocks
        assert (block.r_in, block.delta_in, block.inner_cutoff_type) == (own.r_in, own.delta_in, "zbl")
    calculator = potential.committee_calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0.5]]))
    assert calculator.results["energy"] > 100
    assert calculator.results["energy_std"] < 1e-6  # where ZBL has taken over, no member knows more than another


def test_the_committee_is_a_part_of_the_bundle(make: Make) -> None:
    campaign = make()
    potential = publish_with_committee(campaign)
    names = [f"potential_gen_01_committee_{number:02d}.yace" for number in (1, 2, 3)]
    assert [file.name for file in potential.members] == names
    assert set(names) < set(potential.record.files)
    assert campaign.published_generations() == [1]
    assert Potential.load(potential.path) == potential

    potential.members[1].write_text("changed")
    with pytest.raises(CorruptFileError, match=r"committee_02\.yace is missing or differs from the checksum"):
        Potential.load(potential.yace)
    potential.members[1].unlink()
    with pytest.raises(CorruptFileError, match=r"committee_02\.yace is missing"):
        Potential.load(potential.yace)


def test_a_bundle_of_before_there_were_committees_loads_and_says_that_it_has_none(make: Make) -> None:
    potential = publish_with_committee(make())
    content = json.loads(potential.path.read_text())
    del content["committee"]
    potential.path.write_text(json.dumps(content))
    older = Potential.load(potential.path)
    assert older.members == ()
    with pytest.raises(InputError, match=r"has no committee; set committee: \{members: 5\} in campaign.yaml"):
        older.committee_calculator()


def test_a_crash_while_publishing_leaves_no_member(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make()
    with monkeypatch.context() as crashing:
        crashing.setattr(PotentialRecord, "model_dump_json", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish_with_committee(campaign)
    assert member_file(campaign.bundle_record(1), 3).exists()
    with campaign.hold():
        assert list(campaign.potentials.iterdir()) == []
    assert len(publish_with_committee(campaign).members) == 3


def test_the_members_of_a_rejected_bundle_are_kept_with_it(make: Make) -> None:
    campaign = make()
    plan = planned(campaign)
    fit, deployment, members = finish_linear(plan), deploy_fit(plan), solve_members(plan)
    grade_potential(campaign, 1, 1.01)
    evaluation = evaluate_fit(plan)
    formed = form_committee(plan, deployment.reference, members)
    rejected = record_of(plan, fit, deployment, evaluation, (), formed).model_copy(
        update={"verdict": Verdict(accepted=False, reasons=("this is the reason",))}
    )
    before = publish(campaign, plan.run, rejected)

    again = publish(campaign, plan.run, record_of(plan, fit, deployment, evaluation, ()))

    assert again.members == ()
    assert not list(campaign.potentials.glob("*committee*"))
    kept = Potential.load(plan.run.rejected_bundle(1) / before.path.name)
    assert [file.name for file in kept.members] == [file.name for file in before.members]


def test_samples_are_drawn_with_replacement_and_always_the_same(make: Make) -> None:
    campaign = make()
    plan, runs = planned(campaign), [campaign.generation(1).member(number) for number in (1, 2)]
    ids = chosen_ids(plan.run)
    for seed, run in zip(((42, 1), (42, 2)), runs, strict=True):
        told = draw_sample(plan.run, run, seed)
        times = chosen_times(run)
        assert sum(times.values()) == len(ids)
        assert set(times) < ids
        assert max(times.values()) > 1
        assert told.structures.chosen == len(times)
        before = run.selection.read_bytes()
        draw_sample(plan.run, run, seed)
        assert run.selection.read_bytes() == before
    assert chosen_times(runs[0]) != chosen_times(runs[1])


def test_a_large_sample_has_what_a_bootstrap_has(make: Make) -> None:
    campaign = make()
    run = planned(campaign).run
    content = json.loads(run.selection.read_text())
    content["structures"] = [f"{number:064x}" for number in range(20_000)]
    run.selection.write_text(json.dumps(content))
    told = draw_sample(run, run.member(1), (42, 1))
    assert told.structures.chosen / 20_000 == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_a_trained_member_is_given_each_structure_as_often_as_it_was_drawn(make: Make) -> None:
    campaign = make(fit={"max_epochs": 3})
    plan = planned(campaign)
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


def test_what_was_solved_before_is_not_solved_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make()
    plan, solved, really = planned(campaign), [], committee.solve_samples

    def note(*arguments: Any) -> None:
        solved.append([path.parent.name for path in arguments[5]])
        really(*arguments)

    monkeypatch.setattr(committee, "solve_samples", note)
    members = solve_members(plan)
    before = [member.run.fitted_potential.read_bytes() for member in members]
    members[1].run.fit_record.unlink()  # as an interruption leaves it
    solve_members(plan)
    assert solved == [["member_01", "member_02", "member_03"], ["member_02"]]
    assert [member.run.fitted_potential.read_bytes() for member in members] == before

    edit(campaign, committee={"members": 5})
    solve_members(planned(campaign))
    assert solved[2:] == [["member_04", "member_05"]]
    edit(campaign, loss_weights={"energy": 0.5})
    solve_members(planned(campaign))
    assert len(solved[3]) == 5


def test_more_members_than_fit_into_memory_are_solved_in_turns(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(make())
    expected = [member.run.fitted_potential.read_bytes() for member in solve_members(plan)]
    for member in members_of(plan):
        member.run.fit_record.unlink()
    monkeypatch.setattr(committee, "AT_ONCE", 2)
    assert [member.run.fitted_potential.read_bytes() for member in solve_members(plan)] == expected


def test_one_member_has_nothing_to_differ_from(make: Make) -> None:
    plan = planned(make())
    finish_linear(plan)
    reference, members = deploy_fit(plan).reference, solve_members(plan)
    with pytest.raises(TrainingFailedError, match="only 1 of 3 members were fitted; it takes two to differ"):
        form_committee(plan, reference, members[:1])
    assert form_committee(plan, reference, members[1:]).members == (2, 3)


def test_without_a_test_set_the_spread_is_not_calibrated(make: Make) -> None:
    campaign = make(test={"fraction": 0})
    potential = publish_with_committee(campaign)
    formed = potential.record.committee
    assert formed == CommitteeRecord(members=(1, 2, 3), n_structures=0)
    calculator = potential.committee_calculator()
    assert (calculator.of_energy, calculator.of_force) == (None, None)
    calculator.calculate(next(campaign.store.iterate()).structure.to_atoms())
    assert calculator.results["forces_std"].max() > 0


def test_the_uncertainty_of_a_turned_structure_is_the_same(make: Make) -> None:
    campaign = make()
    calculator, atoms = publish_with_committee(campaign).committee_calculator(), a_test_structure(campaign)
    results = []
    for angle in (0, 33):
        atoms.rotate(angle, (1, 2, 3), rotate_cell=True)
        calculator.calculate(atoms)
        results.append(calculator.results)
    assert results[0]["energy_std"] == pytest.approx(results[1]["energy_std"], rel=1e-4)
    np.testing.assert_allclose(results[0]["forces_std"], results[1]["forces_std"], rtol=1e-4)


def test_members_that_predict_nothing_finite_are_no_committee(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(make())
    finish_linear(plan)
    reference, members = deploy_fit(plan).reference, solve_members(plan)
    nothing = committee._Compared(*[np.array([np.nan])] * 4)
    monkeypatch.setattr(committee, "_compare_chunk", lambda *_, **__: [nothing])
    with pytest.raises(InconsistentPotentialError, match="not finite for the test set"):
        form_committee(plan, reference, members)


@pytest.mark.parametrize(("members", "told"), [(1, "set it to 2 or more, or to 0"), (21, "less than or equal")])
def test_so_many_members_are_no_committee(make_campaign: Callable[..., Campaign], members: int, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"committee\.members: .*{told}"):
        make_campaign(committee={"members": members})


def test_members_of_a_later_generation_continue_its_parent_too(
    make: Make, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make(basis=BASIS)
    publish_with_committee(campaign)
    edit(campaign, fit={"max_epochs": 3}, committee={"members": 2})
    accumulate(campaign, [write_batch(16, 20)])
    plan = plan_fit(campaign, 2, select_structures(campaign, 2))
    assert plan.start.kind == "previous"
    for member in map(prepare_member, members_of(plan)):
        assert member.start == plan.start
        assert member.run.start_potential.read_bytes() == plan.run.start_potential.read_bytes()
        assert member.run.start_potential.parent == campaign.generation(2).member(member.member).root
        assert str(member.run.start_potential) in member.run.input_yaml.read_text()
