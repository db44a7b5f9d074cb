"""Preparing what a fit begins from."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.planning import FitPlan, plan_fit
from mlip_train.selection import Selection
from tasks.cluster import where_the_flow_runs
from tasks.progress import every

__all__ = ["start"]


@task(name="start", task_run_name="start")
def start(campaign: Path, generation: int, selection: Selection) -> FitPlan:
    """Decide what a fit begins from, and solve for its linear start."""
    logger = get_run_logger()
    total = selection.structures.chosen
    report = every(100, lambda done: logger.info("Linear start: %d of %d structures", done, total))
    with where_the_flow_runs():
        plan = plan_fit(Campaign(campaign), generation, selection, report)
    logger.info("Generation %d %s", generation, plan.start)
    if plan.solution is not None:
        logger.info("%s", plan.solution)
    return plan
