"""Putting a finished generation where people find it."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.calibration import CommitteeRecord
from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.deployment import Deployment
from mlip_train.evaluation import Evaluation
from mlip_train.figures import draw_loss_curve
from mlip_train.generation import record_of
from mlip_train.planning import FitPlan, FitRecord
from mlip_train.potential import Potential
from mlip_train.potential import publish as publish_bundle
from tasks.artifacts import report_loss_curve, report_potential

__all__ = ["publish"]


@task(name="publish", task_run_name="publish")
def publish(
    plan: FitPlan,
    fit: FitRecord,
    deployment: Deployment,
    evaluation: Evaluation,
    checks: tuple[Check, ...],
    committee: CommitteeRecord | None,
) -> Potential:
    """Publish the bundle; accepted by the gate, it becomes the campaign's current potential."""
    campaign = Campaign(plan.campaign)
    record = record_of(plan, fit, deployment, evaluation, checks, committee)
    potential = publish_bundle(campaign, plan.run, record)
    _tell(potential)
    draw_loss_curve(record.history, f"{campaign.name}, generation {plan.generation}", plan.run.loss_curve)
    report_loss_curve(plan)
    report_potential(plan, potential)
    return potential


def _tell(potential: Potential) -> None:
    logger, verdict = get_run_logger(), potential.record.verdict
    for note in verdict.notes:
        logger.warning("The gate noted: %s", note)
    if verdict.accepted:
        logger.info("Published %s. %s", potential.yace, potential.use)
    else:  # why, the run's last line says
        logger.warning("Kept as rejected: %s", potential.yace)
