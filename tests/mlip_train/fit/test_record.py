from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.fit.closing import ClosedPotential
from mlip_train.fit.record import history_of, record_of
from mlip_train.records.checks import Check
from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.fit import FitRecord, Timings
from mlip_train.records.reference import SettledReference
from mlip_train.records.verdict import Verdict
from tests.mlip_train.planning import finished, planned

HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"
OVERALL = Errors(n_structures=3, n_atoms=9, energy_rmse=1.0, energy_mae=0.5, force_rmse=9.0, force_mae=5.0)
EVALUATION = Evaluation(train=SplitErrors(overall=OVERALL, by_config_type={}), test=None)
CLOSED = ClosedPotential(reference=SettledReference(), curves=())
REJECTED = Verdict(accepted=False, reasons=("this is the reason",))


@pytest.fixture
def run(tmp_path: Path) -> GenerationDirectory:
    run = GenerationDirectory(tmp_path)
    run.metrics.write_text(HEADER + "0 0 0 0.5 0.01 0.4 8\n0 0 1 0.4 0.02 0.3 8\n0 0 2 0.3 0.03 0.2 8\n")
    run.test_metrics.write_text(HEADER + "0 0 0 0.6 0.1 0.4 8\n0 0 2 0.7 0.1 0.4 8\n0 0 9 0.7 0.1 0.4 8\n")
    return run


def written(plan: FitPlan) -> FitRecord:
    plan.run.metrics.write_text(HEADER + "0 0 0 0.5 0.01 0.4 8\n")
    plan.run.test_metrics.write_text(HEADER)
    return finished(plan)


def test_the_course_of_a_fit_has_our_units(run: GenerationDirectory) -> None:
    history = history_of(run)
    assert history.iteration == (0, 1, 2)
    assert history.loss == (0.5, 0.4, 0.3)
    assert history.energy_rmse == pytest.approx((10.0, 20.0, 30.0))
    assert history.force_rmse == pytest.approx((400.0, 300.0, 200.0))
    assert (history.test_iteration, history.test_loss) == ((0, 2), (0.6, 0.7))  # the engine repeats its last one
    assert history.seconds == ()


def test_a_resumed_fit_counts_on(run: GenerationDirectory) -> None:
    history = history_of(run, resumed_after=5)
    assert (history.iteration, history.test_iteration) == ((5, 6, 7), (5, 7))


def test_a_test_loss_that_is_no_number_is_left_out(run: GenerationDirectory) -> None:
    run.test_metrics.write_text(HEADER + "0 0 0 nan 0.1 0.4 8\n0 0 2 0.7 0.1 0.4 8\n")
    assert history_of(run).test_iteration == (2,)


def test_a_record_says_what_the_steps_found(make_small: Callable[..., Campaign]) -> None:
    campaign = make_small()
    plan = planned(campaign, 1)
    timings = Timings(start_up=1.0, evaluator=2.0, optimiser=3.0)
    fit = written(plan).model_copy(update={"timings": timings, "devices": "/device:CPU:0"})
    check = Check(name="nve", passed=True, finding="so")
    record = record_of(plan, fit, CLOSED, EVALUATION, [check], REJECTED)
    assert (record.generation, record.elements, record.cutoff) == (1, ("Si",), 4.5)
    assert (record.convergence, record.devices) == (fit.stopped, "/device:CPU:0")
    assert record.seconds == {"engine": fit.seconds, "start_up": 1.0, "evaluator": 2.0, "optimiser": 3.0}
    assert (record.verdict, record.checks, record.errors, record.committee) == (
        REJECTED,
        (check,),
        EVALUATION,
        None,
    )
    assert record.reference_energies == campaign.store.manifest.reference_energies
    assert (record.lineage.n_train, record.lineage.dataset_hash) == (plan.n_train, plan.dataset_hash)
    assert record.lineage.parent_sha256 is None


@pytest.mark.parametrize(("start", "is_continued"), [("previous", True), ("zeros", False)])
def test_only_what_was_continued_is_an_ancestor(second: Campaign, start: str, is_continued: bool) -> None:
    text = second.config_file.read_text()
    second.config_file.write_text(text + f"start: {{first: linear, next: {start}}}\n")
    plan = planned(second, 2)
    assert plan.parent is not None
    record = record_of(plan, written(plan), CLOSED, EVALUATION, [], Verdict(accepted=True))
    assert record.lineage.parent_sha256 == (plan.parent.sha256 if is_continued else None)
