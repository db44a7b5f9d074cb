"""Making of a fitted potential one that MD can run."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.deployment import Deployment, check_curves, deploy_fit
from mlip_train.figures import draw_dimer_curves
from mlip_train.planning import FitPlan
from tasks.artifacts import report_dimers

__all__ = ["deploy"]


@task(name="deploy", task_run_name="deploy")
def deploy(plan: FitPlan) -> Deployment:
    """Close the potential at short distance, export it, and look at what approaching atoms feel."""
    logger = get_run_logger()
    deployment = deploy_fit(plan)
    logger.info("Reference potential: %s", deployment.reference)
    for note in (*deployment.notes, *deployment.holes):
        logger.warning("%s", note)
    title = f"{Campaign(plan.campaign).name}, generation {plan.generation}"
    draw_dimer_curves(deployment.curves, deployment.reference.switches, title, plan.run.dimer_curves)
    report_dimers(plan, deployment)
    check_curves(plan, deployment)
    return deployment
