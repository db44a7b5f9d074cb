"""Making of a fitted potential one that MD can run."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.deployment import Deployment, deploy_fit
from mlip_train.planning import FitPlan

__all__ = ["deploy"]


@task(name="deploy", task_run_name="deploy")
def deploy(plan: FitPlan) -> Deployment:
    """Close the potential at short distance, export it, and compute what approaching atoms feel."""
    logger = get_run_logger()
    deployment = deploy_fit(plan)
    logger.info("Reference potential: %s", deployment.reference)
    for note in deployment.notes:
        logger.warning("%s", note)
    return deployment
