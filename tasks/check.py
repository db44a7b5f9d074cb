"""Trying out what was trained."""

from __future__ import annotations

import logging

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.check import Check
from mlip_train.checking import check_fit
from mlip_train.deployment import Deployment
from mlip_train.evaluation import Evaluation
from mlip_train.figures import draw_panels
from mlip_train.planning import FitPlan
from tasks.artifacts import report_checks

__all__ = ["check"]


@task(name="check", task_run_name="check")
def check(plan: FitPlan, deployment: Deployment, evaluation: Evaluation) -> tuple[Check, ...]:
    """Check the files, and what they make of dimers, crystals and MD; each check leaves its picture."""
    logger, checks = get_run_logger(), []
    for found in check_fit(plan, deployment, evaluation):
        level = logging.WARNING if found.passed is False else logging.INFO
        logger.log(level, "Check %s: %s. %s", found.name, found.word, "; ".join([found.told, *found.notes]))
        if found.panels:
            title = f"{plan.campaign.name}, generation {plan.generation}: {found.name}"
            draw_panels(found.panels, title, plan.run.check_picture(found.name))
        checks.append(found)
    report_checks(plan, checks)
    return tuple(checks)
