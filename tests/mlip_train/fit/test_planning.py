"""What a fit begins from, and when it is the same fit as before; without running the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from ase import Atoms

from mlip_train.ace import curvature
from mlip_train.ace.bbasis import coefficients_of, load_bbasis
from mlip_train.ace.curvature import first_inverse_hessian
from mlip_train.ace.library import ACEBBasisSet
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, finished_fit
from mlip_train.errors import TrainingFailedError
from mlip_train.fit import planning
from mlip_train.fit.planning import plan_fit, write_fit
from mlip_train.fit.selection import select_structures
from mlip_train.fit.starting import lay_basis
from mlip_train.fit.training import finish_linear
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.callbacks import STOP_CALLBACK, TELL_CALLBACK
from mlip_train.pacemaker.interim import InterimRecord
from tests.mlip_train.alloys import aluminium
from tests.mlip_train.alloys import write_frames as write_alloy
from tests.mlip_train.frames import with_results
from tests.mlip_train.planning import edit, planned, solved
from tests.mlip_train.references import BASIS, CORE, DELTA, FAR, LINEAR, LJ, NONE

Make = Callable[..., Campaign]


def options_of(plan: FitPlan) -> dict[str, Any]:
    return dict(yaml.safe_load(plan.run.input_yaml.read_text())["fit"].get("options", {}))


@pytest.mark.parametrize("embedding", ["linear", "finnis_sinclair"])
def test_a_fit_from_the_linear_solution_is_told_its_curvature(make_small: Make, embedding: str) -> None:
    plan = planned(make_small(basis=LINEAR | {"embedding": embedding}), 1)
    options = options_of(plan)
    assert set(options) == {"gtol", "hess_inv0"}
    assert options["gtol"] == 1e-8  # what the engine takes without options
    expected = first_inverse_hessian(plan.run.start_potential, plan.run.start_curvature)
    assert np.allclose(options["hess_inv0"], expected, rtol=1e-12)
    assert len(options["hess_inv0"]) == len(ACEBBasisSet(load_bbasis(plan.run.start_potential)).all_coeffs)


@pytest.mark.parametrize(
    "changes",
    [
        {"start": {"first": "zeros"}},
        {"fit": {"max_epochs": 8, "optimizer": "L-BFGS-B"}},
        {"extra": {"fit": {"trainable_parameters": "func"}}},
    ],
    ids=["zeros", "another optimiser", "a part of the coefficients"],
)
def test_any_other_fit_is_not(make_small: Make, changes: dict[str, Any]) -> None:
    assert options_of(planned(make_small(**changes), 1)) == {}


def test_a_continued_fit_is_told_no_curvature(second: Campaign) -> None:
    plan = planned(second, 2)
    assert plan.start.kind == "previous"
    assert options_of(plan) == {}


def test_a_resumed_fit_is_told_no_curvature(make_small: Make) -> None:
    campaign = make_small()
    first = planned(campaign, 1)
    first.run.interim_potential.write_bytes(first.run.start_potential.read_bytes())
    record = InterimRecord(identity=first.identity, iterations=3, loss=0.1, complete=True)
    first.run.interim_record.write_text(record.model_dump_json())
    resumed = planned(campaign, 1)
    assert (resumed.start.kind, resumed.start.resumed_after) == ("linear", 3)
    assert options_of(resumed) == {}


def test_a_fit_of_too_many_coefficients_is_told_no_curvature(
    make_small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curvature, "MOST_COEFFICIENTS", 10)
    plan = planned(make_small(), 1)
    assert options_of(plan) == {}
    assert sum("without the curvature" in note for note in write_fit(plan)) == 1


def test_that_the_engine_goes_on_without_stress_is_said_once(make_small: Make) -> None:
    plan = planned(make_small(), 1)
    assert plan.solution is not None
    assert plan.solution.stress_share > 0.0
    assert sum("cannot train on stress" in note for note in write_fit(plan)) == 1
    without = planned(make_small(name="without", loss_weights={"stress": 0}), 1)
    assert not any("stress" in note for note in write_fit(without))


def test_options_of_ones_own_stay_and_the_configuration_holds_no_curvature(make_small: Make) -> None:
    extra = {"fit": {"options": {"gtol": 1e-5}}}
    campaign = make_small(extra=extra)
    plan = planned(campaign, 1)
    assert options_of(plan)["gtol"] == 1e-5
    assert "hess_inv0" in options_of(plan)
    assert plan.config.extra == campaign.config.extra == extra
    assert "hess_inv0" not in plan.run.plan.read_text()
    assert planned(campaign, 1) == plan


def test_a_start_that_was_solved_before_is_not_solved_again(
    make_small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_small()
    first = planned(campaign, 1)

    def refuse(*_: object) -> None:
        raise AssertionError("the linear start was solved again")

    monkeypatch.setattr(planning, "make_start", refuse)
    assert planned(campaign, 1) == first


def test_a_resumed_fit_begins_from_the_interim_potential_without_solving_again(
    make_small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_small()
    first = planned(campaign, 1)
    run = first.run
    run.interim_potential.write_bytes(run.start_potential.read_bytes())
    record = InterimRecord(identity=first.identity, iterations=3, loss=0.1, complete=True)
    run.interim_record.write_text(record.model_dump_json())
    monkeypatch.setattr(planning, "make_start", None)

    resumed = planned(campaign, 1)

    assert resumed.start.resumed_after == 3
    assert resumed.epochs == 5
    assert resumed.most_iterations == 8
    assert resumed.solution == first.solution
    assert "resumed after 3 iterations" in str(resumed.start)


def test_a_damaged_interim_potential_lets_the_fit_start_over_from_its_solution(make_small: Make) -> None:
    campaign = make_small()
    first = planned(campaign, 1)
    run = first.run
    run.interim_potential.write_text("torn")
    record = InterimRecord(identity=first.identity, iterations=3, loss=0.1, complete=True)
    run.interim_record.write_text(record.model_dump_json())
    again = planned(campaign, 1)
    assert again.start.resumed_after == 0
    assert again.epochs == 8
    assert not run.interim_potential.exists()
    assert load_bbasis(run.start_potential)


def test_a_start_that_is_gone_or_that_a_resumption_has_replaced_is_solved_anew(make_small: Make) -> None:
    campaign = make_small()
    first = planned(campaign, 1)
    expected = coefficients_of(first.run.start_potential)
    first.run.start_potential.unlink()
    assert planned(campaign, 1).start == first.start
    assert np.array_equal(coefficients_of(first.run.start_potential), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"start": {"first": "zeros"}},
        {"start": {"next": "linear"}},
        {"active_set": {"method": "maxvol", "max_structures": 3}},
        {"fit": {"max_epochs": 9}},
        {"fit": {"max_hours": 1.0}},
        {"loss_weights": {"force": 0.2}},
        {"basis": {"cutoff": 4.6}},
    ],
)
def test_whatever_determines_a_fit_makes_it_another_one(make_small: Make, changes: dict[str, Any]) -> None:
    campaign = make_small()
    before = planned(campaign, 1).identity
    edit(campaign, **changes)
    assert planned(campaign, 1).identity != before


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": {"batch_size": 3}},
        {"engine": {"max_hours": 2.0}},
        {"active_set": {"method": "maxvol", "max_structures": 100}},
    ],
)
def test_what_only_changes_the_way_leaves_it_the_same_fit(make_small: Make, changes: dict[str, Any]) -> None:
    campaign = make_small()
    before = planned(campaign, 1).identity
    edit(campaign, **changes)
    assert planned(campaign, 1).identity == before


def test_the_fit_is_given_the_chosen_structures_only(make_small: Make) -> None:
    campaign = make_small(active_set={"method": "maxvol", "max_structures": 2}, test={"fraction": 0})
    plan = planned(campaign, 1)
    given = pd.read_pickle(plan.run.train_data, compression="gzip")
    chosen = yaml.safe_load(plan.run.selection.read_text())["structures"]
    assert sorted(given["name"]) == sorted(chosen)
    assert plan.n_train == len(given) == 2
    assert len(pd.read_pickle(campaign.accumulated, compression="gzip")) == 5


def test_each_split_is_written_alone(make_small: Make) -> None:
    campaign = make_small(test={"fraction": 0.4})
    plan = planned(campaign, 1)
    stored = {split: [row.structure_id for row in campaign.store.index(split)] for split in ("train", "test")}
    assert (plan.n_train, plan.n_test) == (len(stored["train"]), len(stored["test"])) == (3, 2)
    for file, split in ((plan.run.train_data, "train"), (plan.run.test_data, "test")):
        assert list(pd.read_pickle(file, compression="gzip")["name"]) == stored[split]
    assert plan.run.train_data.read_bytes() == campaign.accumulated.read_bytes()


def test_without_a_test_set_none_is_written(make_small: Make) -> None:
    plan = planned(make_small(test={"fraction": 0}), 1)
    assert not plan.run.test_data.exists()
    assert "test_data" not in yaml.safe_load(plan.run.input_yaml.read_text())["data"]


def test_a_time_budget_is_a_callback_of_the_engine(make_small: Make) -> None:
    native = yaml.safe_load(
        planned(make_small(fit={"max_epochs": 8, "max_hours": 1.5}), 1).run.input_yaml.read_text()
    )
    assert native["fit"]["callbacks"] == [TELL_CALLBACK, STOP_CALLBACK]
    assert native["fit"]["maxiter"] == 8


def test_a_finished_fit_is_not_prepared_again(make_small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_small(fit={"max_epochs": 0})
    plan = planned(campaign, 1)
    record = finish_linear(plan)
    monkeypatch.setattr(planning, "make_start", None)
    ground = lay_basis(campaign, 1)
    assert plan_fit(ground, select_structures(ground)) == plan
    assert finished_fit(plan.run, plan.identity) == record
    assert finished_fit(plan.run, "another") is None


@pytest.mark.parametrize("reference", [FAR, LJ], ids=["delta", "lj"])
def test_labels_are_differences_and_the_dataset_keeps_dft(make_linear: Make, reference: dict[str, Any]) -> None:
    campaign = make_linear(reference)
    plan = solved(campaign, 1)
    assert plan.baseline is not None
    learned = pd.read_pickle(plan.run.train_data, compression="gzip").set_index("name")
    accumulated = pd.read_pickle(campaign.accumulated, compression="gzip").set_index("name")
    tested = pd.read_pickle(plan.run.test_data, compression="gzip").set_index("name")
    for row in campaign.store.iterate():
        structure = row.structure
        taken = plan.baseline.compute(structure.to_atoms())
        fitted = (learned if row.split == "train" else tested).loc[structure.structure_id]
        assert abs(taken.energy) > 0.1
        assert fitted["energy"] + taken.energy == pytest.approx(structure.energy, abs=1e-12)
        np.testing.assert_allclose(fitted["forces"] + taken.forces, structure.forces, atol=1e-12)
        if row.split == "train":
            assert accumulated.loc[structure.structure_id]["energy"] == structure.energy


@pytest.mark.parametrize("epochs", [0, 5])
@pytest.mark.parametrize(("sigma", "widens"), [(2.0, False), (2.46, False), (2.5, True)])
def test_a_baseline_that_leaves_more_to_learn_is_told(
    make_linear: Make, sigma: float, widens: bool, epochs: int
) -> None:
    campaign = make_linear({**LJ, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": sigma}}})
    edit(campaign, fit={"max_epochs": epochs})
    notes = write_fit(planned(Campaign(campaign.root), 1))
    assert sum("times as large as those of DFT" in note for note in notes) == widens


def test_a_baseline_that_leaves_anything_where_dft_has_no_forces_is_told(
    make_campaign: Make, tmp_path: Path, silicon: list[Atoms]
) -> None:
    still = [with_results(atoms.copy(), energy=-40.0, forces=np.zeros((len(atoms), 3))) for atoms in silicon[:4]]
    campaign = make_campaign(basis=BASIS, fit={"max_epochs": 0}, reference=LJ)
    accumulate(campaign, [write_alloy(tmp_path / "still.extxyz", still)])
    (note,) = write_fit(planned(campaign, 1))
    assert "are inf times as large" in note


def test_another_baseline_is_another_fit_and_a_core_is_not(make_linear: Make) -> None:
    identities = []
    campaign = make_linear(NONE)
    for reference in (NONE, CORE, DELTA, LJ):
        edit(campaign, reference=None)
        edit(campaign, reference=reference)
        identities.append(planned(Campaign(campaign.root), 1).identity)
    assert identities[0] == identities[1]
    assert len(set(identities)) == 3


def with_weights(frames: list[Atoms], weights: list[float], atoms: list[float] | None = None) -> list[Atoms]:
    for frame, weight in zip(frames, weights, strict=True):
        frame.info["weight"] = weight
        if atoms is not None:
            frame.arrays["weights"] = np.array(atoms)
    return frames


def test_weights_reach_the_engine_and_zero_leaves_out(make_campaign: Make, tmp_path: Path) -> None:
    campaign = make_campaign(elements=["Al"], test={"fraction": 0.0})
    # weights of atoms that sum to their number are weights, too
    frames = with_weights(aluminium(6), [1, 2, 0, 1, 1, 1], [0.0, 2.0, 0.0, 2.0])
    accumulate(campaign, [write_alloy(tmp_path / "al.extxyz", frames)])
    plan = planned(campaign, 1)
    data = pd.read_pickle(plan.run.train_data, compression="gzip")
    assert plan.n_train == len(data) == 5
    assert sorted(data["w_energy"]) == pytest.approx([1 / 6] * 4 + [2 / 6])
    assert np.vstack(data["w_forces"])[0] == pytest.approx(np.array([0, 2, 0, 2]) * data["w_energy"].iloc[0] / 4)
    notes = select_structures(lay_basis(campaign, 1)).notes
    assert "1 structures left out by the weight 0" in notes
    assert "5 structures with weights of their atoms" in notes


def test_a_dataset_without_any_weight_is_refused(make_campaign: Make, tmp_path: Path) -> None:
    campaign = make_campaign(elements=["Al"], test={"fraction": 0.0})
    accumulate(campaign, [write_alloy(tmp_path / "al.extxyz", with_weights(aluminium(3), [0, 0, 0]))])
    with pytest.raises(TrainingFailedError, match="all training structures have the weight 0"):
        planned(campaign, 1)


def test_a_training_without_forces_is_refused(make_campaign: Make, tmp_path: Path) -> None:
    campaign = make_campaign(elements=["Al"], test={"fraction": 0.0})
    frames = with_weights(aluminium(6), [1] * 6, [0.0] * 4)
    accumulate(campaign, [write_alloy(tmp_path / "al.extxyz", frames)])
    with pytest.raises(TrainingFailedError, match="weights of all atoms are 0"):
        planned(campaign, 1)
