"""Measuring what was trained."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.evaluation import Evaluation
from mlip_train.measuring import evaluate_fit
from mlip_train.planning import FitPlan
from tasks.artifacts import report_errors
from tasks.cluster import where_the_flow_runs
from tasks.progress import every

__all__ = ["evaluate"]


@task(name="evaluate", task_run_name="evaluate")
def evaluate(plan: FitPlan) -> Evaluation:
    """Compare the exported potential with DFT on the test and training sets, and with the trainer."""
    logger, total = get_run_logger(), plan.n_train + plan.n_test
    report = every(500, lambda done: logger.info("Evaluated %d of %d structures", done, total))
    with where_the_flow_runs():
        evaluation = evaluate_fit(plan, report)
    logger.info("Errors of generation %d: %s", plan.generation, evaluation)
    if evaluation.new is not None:
        logger.info("Before it, generation %s on what is new: %s", evaluation.parent, evaluation.new.overall)
    report_errors(plan, evaluation)
    return evaluation
