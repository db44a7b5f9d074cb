"""Making a potential able to say what it does not know."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.grading import grade_potential
from mlip_train.planning import FitPlan
from tasks.cluster import where_the_flow_runs
from tasks.progress import every

__all__ = ["grade"]


@task(name="grade", task_run_name="grade")
def grade(plan: FitPlan) -> None:
    """Compute the active set of the fitted potential, by which it grades extrapolation."""
    logger = get_run_logger()
    report = every(500, lambda done: logger.info("Graded %d structures", done))
    with where_the_flow_runs():
        tolerance = plan.config.active_set.gamma_tolerance
        grades = grade_potential(Campaign(plan.campaign), plan.generation, tolerance, report)
    worst = ", ".join(f"{grade:.2f} {element}" for element, grade in grades.items())
    logger.info("Largest extrapolation grade among the training structures: %s", worst)
