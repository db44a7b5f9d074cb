"""What came of a generation's fit: judged, measured and described for publication."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import pandas as pd

from mlip_train.calibration import CommitteeRecord
from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.deployment import Deployment
from mlip_train.errors import TrainingFailedError
from mlip_train.evaluation import Evaluation
from mlip_train.files import copy_atomically, write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.judging import judge
from mlip_train.pacemaker.devices import devices_told
from mlip_train.pacemaker.interim import discard_interim
from mlip_train.pacemaker.linear_start import write_linear_metrics, write_predictions
from mlip_train.pacemaker.metrics import place_on, read_metrics
from mlip_train.pacemaker.outcome import collect_outcome, engine_versions, reason_it_stopped
from mlip_train.pacemaker.timings import read_clock, read_timings
from mlip_train.planning import FitPlan, FitRecord
from mlip_train.potential import Lineage, PotentialRecord, TrainingHistory
from mlip_train.selection import chosen_structures

__all__ = [
    "check_continued",
    "continues",
    "finish_fit",
    "finish_linear",
    "history_of",
    "record_of",
]


def finish_fit(plan: FitPlan, return_code: int, seconds: float) -> FitRecord:
    """Judge what the engine left and record it; see `collect_outcome` for the errors raised."""
    run = plan.run
    run.fit_record.unlink(missing_ok=True)
    try:
        left_out = collect_outcome(run, return_code, may_leave_out=plan.config.fit.weighting.kind != "uniform")
        check_continued(plan, read_metrics(run.metrics))
    except TrainingFailedError:
        # Resuming from the same place would fail in the same way; the next attempt starts afresh.
        discard_interim(run)
        raise
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        stopped=reason_it_stopped(run.log),
        left_out=left_out,
        seconds=seconds,
        return_code=return_code,
        engine=engine_versions(run.fitted_potential),
        devices=devices_told(run.log),
        timings=read_timings(run.log, seconds),
    )
    write_atomically(run.fit_record, record.model_dump_json(indent=2) + "\n")
    discard_interim(run)
    return record


def continues(plan: FitPlan, metrics: pd.DataFrame) -> bool:
    """Whether the first errors that the engine reported are those of the start potential; True while unknown."""
    expected = plan.start_errors
    if expected is None or metrics.empty:
        return True
    energy, force = _first_errors(metrics)
    if not math.isfinite(energy + force):
        return True  # judged with the rest of the evidence
    return _close(energy, expected.energy_rmse, 0.02) and _close(force, expected.force_rmse, 0.1)


def check_continued(plan: FitPlan, metrics: pd.DataFrame) -> None:
    """Compare the first errors that the engine reported with those of the start potential on the same data.

    Raises
    ------
    TrainingFailedError
        When they differ: the engine began from something else.
    """
    expected = plan.start_errors
    if expected is not None and not continues(plan, metrics):
        energy, force = _first_errors(metrics)
        raise TrainingFailedError(
            f"the fit did not continue from {plan.run.start_potential}: that has errors of "
            f"{expected.energy_rmse:.3g} meV/atom and {expected.force_rmse:.3g} meV/Å on the training structures, "
            f"but the engine began with {energy:.3g} meV/atom and {force:.3g} meV/Å. Nothing was published; look "
            "for keys in 'extra' that change the potential or the data, and remove them"
        )


def _first_errors(metrics: pd.DataFrame) -> tuple[float, float]:
    """Of the first row: energy in meV/atom, force in meV/Å."""
    return 1e3 * float(metrics["rmse_epa"].iloc[0]), 1e3 * float(metrics["rmse_f_comp"].iloc[0])


def _close(value: float, expected: float, absolute: float) -> bool:
    return abs(value - expected) <= absolute + 0.01 * expected


def finish_linear(plan: FitPlan) -> FitRecord:
    """Make the linear solution the generation's potential, with the files that a fit would leave.

    Raises
    ------
    TrainingFailedError
        When the plan holds no linear solution.
    """
    run, solution = plan.run, plan.solution
    if solution is None:
        raise TrainingFailedError(
            f"generation {plan.generation} has no linear solution; set fit.max_epochs above 0"
        )
    run.fit_record.unlink(missing_ok=True)
    copy_atomically(run.start_potential, run.fitted_potential)
    structures = chosen_structures(Campaign(plan.campaign), run)
    write_linear_metrics(run, solution)
    write_predictions(run, structures())
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        stopped=f"solved (ridge {solution.ridge:.0e})",
        left_out=plan.n_train - plan.start_errors.n_structures if plan.start_errors else 0,
        seconds=solution.seconds,
        return_code=0,
        engine={"pacemaker_version": version("python-ace")},
    )
    write_atomically(run.fit_record, record.model_dump_json(indent=2) + "\n")
    return record


def history_of(run: GenerationDirectory, resumed_after: int = 0) -> TrainingHistory:
    """The course of a fit's last attempt, from the files the engine wrote."""
    metrics, test = read_metrics(run.metrics), read_metrics(run.test_metrics)
    tested = [
        (resumed_after + row, float(loss))
        for row, loss in zip(place_on(metrics, test), test["loss"], strict=True)
        if row is not None and math.isfinite(loss)
    ]
    return TrainingHistory(
        iteration=tuple(resumed_after + row for row in range(len(metrics))),
        loss=tuple(metrics["loss"].astype(float)),
        energy_rmse=tuple(1e3 * metrics["rmse_epa"].astype(float)),
        force_rmse=tuple(1e3 * metrics["rmse_f_comp"].astype(float)),
        test_iteration=tuple(iteration for iteration, _ in tested),
        test_loss=tuple(loss for _, loss in tested),
        seconds=read_clock(run.log, len(metrics)),
    )


def record_of(
    plan: FitPlan,
    fit: FitRecord,
    deployment: Deployment,
    evaluation: Evaluation,
    checks: Sequence[Check],
    committee: CommitteeRecord | None = None,
) -> PotentialRecord:
    """Everything a bundle says about itself, with the gate's verdict; files and date come when it is published."""
    continued = fit.start.generation is not None
    return PotentialRecord(
        generation=plan.generation,
        created=datetime.now(UTC),
        convergence=fit.stopped,
        elements=plan.config.elements,
        cutoff=plan.config.basis.cutoff,
        reference_energies=Campaign(plan.campaign).store.manifest.reference_energies,
        files={},
        lineage=Lineage(
            start=fit.start,
            parent_sha256=plan.parent_sha256 if continued else None,
            dataset_hash=plan.dataset_hash,
            config_hash=plan.config.digest,
            basis_hash=plan.basis_hash,
            n_train=plan.n_train,
            n_test=plan.n_test,
            engine=fit.engine,
            reference=deployment.reference,
        ),
        history=history_of(plan.run, fit.start.resumed_after),
        errors=evaluation,
        seconds={"engine": fit.seconds, **(fit.timings.model_dump() if fit.timings else {})},
        devices=fit.devices,
        checks=tuple(checks),
        committee=committee,
        verdict=judge(plan.config.gate, evaluation, checks),
    )
