"""What a fit begins from, and when it is the same fit as before; without running the engine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlip_train import planning
from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.errors import TrainingFailedError
from mlip_train.generation import check_continued, finish_linear
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.pacemaker import curvature
from mlip_train.pacemaker.bbasis import coefficients_of, load_bbasis
from mlip_train.pacemaker.callbacks import STOP_CALLBACK, TELL_CALLBACK
from mlip_train.pacemaker.curvature import first_inverse_hessian
from mlip_train.pacemaker.interim import InterimRecord
from mlip_train.pacemaker.library import ACEBBasisSet
from mlip_train.pacemaker.warm_start import has_idle_density, seed_second_density
from mlip_train.planning import FitPlan, finished_fit, plan_fit, write_fit
from mlip_train.potential import Potential
from mlip_train.selection import select_structures
from mlip_train.starting import lay_basis
from tests.conftest import REPOSITORY
from tests.mlip_train.bbasis import config_of, predictions, write_random
from tests.mlip_train.planning import edit, planned, publish_linear

WriteBatch = Callable[[int, int], Path]
Make = Callable[..., Campaign]


LINEAR = {
    "cutoff": 4.5, "functions_per_element": 8, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1],
    "embedding": "linear",
}  # fmt: skip


@pytest.fixture
def make(make_campaign: Callable[..., Campaign], write_batch: WriteBatch) -> Make:
    """Makes a campaign with five structures."""

    def made(**keys: Any) -> Campaign:
        campaign = make_campaign(**keys)
        accumulate(campaign, [write_batch(0, 5)])
        return campaign

    return made


@pytest.fixture
def second(make: Make, write_batch: WriteBatch) -> Campaign:
    """A campaign with a published linear potential and a second generation to fit."""
    campaign = make(fit={"max_epochs": 0}, basis=LINEAR)
    publish_linear(campaign, 1)
    accumulate(campaign, [write_batch(5, 8)])
    edit(campaign, fit={"max_epochs": 8})
    return campaign


def structures_of(campaign: Campaign) -> list[Any]:
    return [row.structure for row in campaign.store.iterate("train")]


def test_the_first_fit_starts_from_the_linear_solution(make: Make) -> None:
    plan = planned(make(), 1)
    assert plan.start.kind == "linear"
    assert str(plan.start) == "starts from the linear solution (there is no earlier potential)"
    assert plan.solution is not None
    native = yaml.safe_load(plan.run.input_yaml.read_text())
    assert native["potential"] == str(plan.run.start_potential)
    blocks = load_bbasis(plan.run.start_potential).funcspecs_blocks
    assert all(f.coeffs[1] != 0 for block in blocks for f in block.funcspecs)


def test_the_first_fit_starts_from_zeros_if_it_is_told_to(make: Make) -> None:
    plan = planned(make(start={"first": "zeros"}), 1)
    assert (plan.start.kind, plan.solution, plan.start_errors) == ("zeros", None, None)
    assert not plan.run.start_potential.exists()
    assert "elements" in yaml.safe_load(plan.run.input_yaml.read_text())["potential"]


def test_a_later_fit_continues_the_current_potential(second: Campaign) -> None:
    parent = Potential.current(second)
    assert parent is not None
    plan = planned(second, 2)
    assert str(plan.start) == "continues generation 1 (it has the same basis)"
    assert plan.solution is None
    structures = structures_of(second)
    for before, after in zip(
        predictions(parent.yaml, structures), predictions(plan.run.start_potential, structures), strict=True
    ):
        assert np.allclose(before, after, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"basis": {"cutoff": 4.7}}, "linear", "the cutoff changed since generation 1"),
        (
            {"basis": {"cutoff": 4.7, "embedding": "finnis_sinclair"}}, "linear",
            "the cutoff and the embedding changed since generation 1",
        ),
        ({"basis": {"functions_per_element": 11, "nradmax_by_orders": [5, 3]}}, "previous", "grown by 3"),
        ({"basis": {"functions_per_element": 6}}, "linear", "2 functions of generation 1 are not in the basis"),
        ({"start": {"next": "linear"}}, "linear", "start.next is linear"),
        ({"start": {"next": "zeros"}}, "zeros", "start.next is zeros"),
        ({"fit": {"max_epochs": 0}}, "linear", "fit.max_epochs is 0"),
    ],
    ids=["cutoff", "cutoff and embedding", "larger", "smaller", "next linear", "next zeros", "no epochs"],
)  # fmt: skip
def test_what_changed_decides_what_a_later_fit_begins_from_and_is_said(
    second: Campaign, changes: dict[str, Any], kind: str, told: str
) -> None:
    edit(second, **changes)
    plan = planned(second, 2)
    assert plan.start.kind == kind
    assert told in str(plan.start)
    assert (plan.solution is not None) == (kind == "linear")
    assert (plan.start.generation == 1) == ("changed since" not in told and kind != "zeros")


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [({"functions_per_element": 6}, True), ({"functions_per_element": 9}, True), ({"cutoff": 4.7}, False)],
    ids=["smaller", "larger", "cutoff"],
)
def test_radial_functions_are_kept_unless_they_mean_something_else_now(
    tmp_path: Path, changes: dict[str, Any], is_kept: bool
) -> None:
    parent = write_random(tmp_path / "parent.yaml", config_of(["Si"], functions_per_element=8))
    run = GenerationDirectory(tmp_path / "run")
    config = config_of(["Si"], **{"functions_per_element": 8} | changes)
    record = SimpleNamespace(elements=("Si",))
    before = SimpleNamespace(yaml=parent, generation=1, record=record, baseline=None)
    start = lay_basis(config, run, before)  # type: ignore[arg-type]
    old, new = (np.array(load_bbasis(path).funcspecs_blocks[0].radcoefficients) for path in (parent, run.basis))
    common = tuple(slice(size) for size in np.minimum(old.shape, new.shape))
    assert np.array_equal(old[common], new[common]) == is_kept
    assert start.generation == (1 if is_kept else None)


def test_a_second_density_that_the_linear_solution_left_at_zero_is_seeded_and_the_first_solved_anew(
    make: Make, write_batch: WriteBatch
) -> None:
    campaign = make(fit={"max_epochs": 0})
    parent = publish_linear(campaign, 1)
    assert has_idle_density(parent.yaml)
    accumulate(campaign, [write_batch(5, 12)])
    edit(campaign, fit={"max_epochs": 8})
    plan = planned(campaign, 2)
    assert (plan.start.kind, plan.start.generation) == ("linear", 1)
    assert "the second density of generation 1 was never trained" in str(plan.start)
    blocks = load_bbasis(plan.run.start_potential).funcspecs_blocks
    assert all(0 != f.coeffs[1] != f.coeffs[0] for block in blocks for f in block.funcspecs)
    assert plan.solution is not None
    assert plan.start_errors is not None
    assert 1e3 * plan.solution.energy_rmse == pytest.approx(plan.start_errors.energy_rmse, rel=1e-4)
    assert 1e3 * plan.solution.force_rmse == pytest.approx(plan.start_errors.force_rmse, rel=1e-3)


def test_a_second_density_that_was_trained_is_continued(make: Make, write_batch: WriteBatch) -> None:
    campaign = make(fit={"max_epochs": 0})
    parent = publish_linear(campaign, 1)
    seed_second_density(parent.yaml)
    record = json.loads(parent.path.read_text())
    record["files"][parent.yaml.name] = hashlib.sha256(parent.yaml.read_bytes()).hexdigest()
    parent.path.write_text(json.dumps(record))
    accumulate(campaign, [write_batch(5, 7)])
    edit(campaign, fit={"max_epochs": 8})
    assert str(planned(campaign, 2).start) == "continues generation 1 (it has the same basis)"


def test_the_linear_solution_alone_leaves_the_second_density_idle(make: Make) -> None:
    plan = planned(make(fit={"max_epochs": 0}), 1)
    assert has_idle_density(plan.run.start_potential)
    assert not plan.run.start_curvature.exists()


def options_of(plan: FitPlan) -> dict[str, Any]:
    return dict(yaml.safe_load(plan.run.input_yaml.read_text())["fit"].get("options", {}))


@pytest.mark.parametrize("embedding", ["linear", "finnis_sinclair"])
def test_a_fit_from_the_linear_solution_is_told_its_curvature(make: Make, embedding: str) -> None:
    plan = planned(make(basis=LINEAR | {"embedding": embedding}), 1)
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
def test_any_other_fit_is_not(make: Make, changes: dict[str, Any]) -> None:
    assert options_of(planned(make(**changes), 1)) == {}


def test_a_continued_fit_is_told_no_curvature(second: Campaign) -> None:
    plan = planned(second, 2)
    assert plan.start.kind == "previous"
    assert options_of(plan) == {}


def test_a_resumed_fit_is_told_no_curvature(make: Make) -> None:
    campaign = make()
    first = planned(campaign, 1)
    first.run.interim_potential.write_bytes(first.run.start_potential.read_bytes())
    record = InterimRecord(identity=first.identity, iterations=3, loss=0.1, complete=True)
    first.run.interim_record.write_text(record.model_dump_json())
    resumed = planned(campaign, 1)
    assert (resumed.start.kind, resumed.start.resumed_after) == ("linear", 3)
    assert options_of(resumed) == {}


def test_a_fit_of_too_many_coefficients_is_told_no_curvature(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "MOST_COEFFICIENTS", 10)
    plan = planned(make(), 1)
    assert options_of(plan) == {}
    (note,) = write_fit(plan)
    assert "without the curvature" in note


def test_options_of_ones_own_stay_and_the_configuration_holds_no_curvature(make: Make) -> None:
    extra = {"fit": {"options": {"gtol": 1e-5}}}
    campaign = make(extra=extra)
    plan = planned(campaign, 1)
    assert options_of(plan)["gtol"] == 1e-5
    assert "hess_inv0" in options_of(plan)
    assert plan.config.extra == campaign.config.extra == extra
    assert "hess_inv0" not in plan.run.plan.read_text()
    assert planned(campaign, 1) == plan


def test_a_grown_start_predicts_what_the_parent_predicted(second: Campaign) -> None:
    parent = Potential.current(second)
    assert parent is not None
    edit(second, basis={"functions_per_element": 11, "nradmax_by_orders": [5, 3]})
    plan = planned(second, 2)
    structures = structures_of(second)
    before, _ = predictions(parent.yaml, structures)
    after, _ = predictions(plan.run.start_potential, structures)
    assert np.allclose(before, after, rtol=0, atol=1e-10)
    assert len(coefficients_of(plan.run.start_potential)) > len(coefficients_of(parent.yaml))


def test_a_start_that_was_solved_before_is_not_solved_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make()
    first = planned(campaign, 1)

    def refuse(*_: object) -> None:
        raise AssertionError("the linear start was solved again")

    monkeypatch.setattr(planning, "make_start", refuse)
    assert planned(campaign, 1) == first


def test_a_resumed_fit_begins_from_the_interim_potential_without_solving_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make()
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


def test_a_damaged_interim_potential_lets_the_fit_start_over_from_its_solution(make: Make) -> None:
    campaign = make()
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


def test_a_start_that_is_gone_or_that_a_resumption_has_replaced_is_solved_anew(make: Make) -> None:
    campaign = make()
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
def test_whatever_determines_a_fit_makes_it_another_one(make: Make, changes: dict[str, Any]) -> None:
    campaign = make()
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
def test_what_only_changes_the_way_leaves_it_the_same_fit(make: Make, changes: dict[str, Any]) -> None:
    campaign = make()
    before = planned(campaign, 1).identity
    edit(campaign, **changes)
    assert planned(campaign, 1).identity == before


def test_the_fit_is_given_the_chosen_structures_only(make: Make) -> None:
    campaign = make(active_set={"method": "maxvol", "max_structures": 2}, test={"fraction": 0})
    plan = planned(campaign, 1)
    given = pd.read_pickle(plan.run.train_data, compression="gzip")
    chosen = yaml.safe_load(plan.run.selection.read_text())["structures"]
    assert sorted(given["name"]) == sorted(chosen)
    assert plan.n_train == len(given) == 2
    assert len(pd.read_pickle(campaign.accumulated, compression="gzip")) == 5


def test_a_time_budget_is_a_callback_of_the_engine(make: Make) -> None:
    native = yaml.safe_load(planned(make(fit={"max_epochs": 8, "max_hours": 1.5}), 1).run.input_yaml.read_text())
    assert native["fit"]["callbacks"] == [TELL_CALLBACK, STOP_CALLBACK]
    assert native["fit"]["maxiter"] == 8


def metrics(energy: float, force: float) -> pd.DataFrame:
    """As the engine writes them: eV/atom and eV/Å."""
    return pd.DataFrame({"loss": [0.1, 0.05], "rmse_epa": [energy, 0.0], "rmse_f_comp": [force, 0.0]})


def test_a_fit_that_begins_elsewhere_than_its_start_is_noticed(second: Campaign) -> None:
    plan = planned(second, 2)
    expected = plan.start_errors
    assert expected is not None
    energy, force = expected.energy_rmse / 1e3, expected.force_rmse / 1e3
    check_continued(plan, metrics(energy, force))
    check_continued(plan, metrics(energy * 1.005, force * 0.995))
    check_continued(plan, pd.DataFrame())
    check_continued(plan, metrics(np.nan, np.nan))  # told as what it is when the engine has ended
    for wrong in (metrics(energy * 1.1 + 1e-4, force), metrics(energy, force * 1.1 + 1e-3)):
        with pytest.raises(TrainingFailedError, match="did not continue"):
            check_continued(plan, wrong)


def test_the_errors_of_a_start_are_those_of_its_potential_on_the_chosen_structures(second: Campaign) -> None:
    plan = planned(second, 2)
    structures = structures_of(second)
    energies, forces = predictions(plan.run.start_potential, structures)
    shift = second.store.manifest.reference_energies["Si"]
    sizes = np.array([len(s.numbers) for s in structures])
    labels = np.array([s.energy for s in structures]) - shift * sizes
    assert plan.start_errors is not None
    assert plan.start_errors.energy_rmse == pytest.approx(
        1e3 * np.sqrt((((energies - labels) / sizes) ** 2).mean()), rel=1e-6
    )
    errors = forces - np.concatenate([s.forces.ravel() for s in structures])
    assert plan.start_errors.force_rmse == pytest.approx(1e3 * np.sqrt((errors**2).mean()), rel=1e-6)


def test_a_finished_fit_is_not_prepared_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make(fit={"max_epochs": 0})
    plan = planned(campaign, 1)
    record = finish_linear(plan)
    monkeypatch.setattr(planning, "make_start", None)
    assert plan_fit(campaign, 1, select_structures(campaign, 1)) == plan
    assert finished_fit(plan.run, plan.identity) == record
    assert finished_fit(plan.run, "another") is None


def test_a_linear_plan_without_a_solution_is_an_error(make: Make) -> None:
    plan: FitPlan = planned(make(fit={"max_epochs": 0}), 1).model_copy(update={"solution": None})
    with pytest.raises(TrainingFailedError, match="no linear solution"):
        finish_linear(plan)


LINEAR_ONLY = """
import sys
from mlip_train.campaign import Campaign
from tests.mlip_train.planning import publish_linear
potential = publish_linear(Campaign(sys.argv[1]), 1)
loaded = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "tensorpotential", "keras")]
assert not loaded, loaded
print(potential.yace)
"""


def test_the_linear_potential_is_made_without_tensorflow(make: Make) -> None:
    campaign = make(fit={"max_epochs": 0}, active_set={"method": "maxvol"})
    command = [sys.executable, "-c", LINEAR_ONLY, str(campaign.root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(campaign.potentials / "potential_gen_01.yace")
