"""What a generation came to, described for publication."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.fit.closing import ClosedPotential
from mlip_train.pacemaker.log import read_clock
from mlip_train.pacemaker.metrics import place_on, read_metrics
from mlip_train.records.checks import Check
from mlip_train.records.committee import CommitteeRecord
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.fit import FitRecord
from mlip_train.records.potential import Lineage, PotentialRecord, TrainingHistory
from mlip_train.records.verdict import Verdict

__all__ = ["history_of", "record_of"]


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
    closed: ClosedPotential,
    evaluation: Evaluation,
    checks: Sequence[Check],
    verdict: Verdict,
    committee: CommitteeRecord | None = None,
) -> PotentialRecord:
    """Everything that a bundle says about itself; its files and date come when it is published."""
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
            parent_sha256=plan.parent.sha256 if plan.parent and continued else None,
            dataset_hash=plan.dataset_hash,
            config_hash=plan.config.digest,
            basis_hash=plan.basis_hash,
            n_train=plan.n_train,
            n_test=plan.n_test,
            engine=fit.engine,
            reference=closed.reference,
        ),
        history=history_of(plan.run, fit.start.resumed_after),
        errors=evaluation,
        seconds={"engine": fit.seconds, **(fit.timings.model_dump() if fit.timings else {})},
        devices=fit.devices,
        checks=tuple(checks),
        committee=committee,
        verdict=verdict,
    )
