"""Measuring what was trained."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.evaluation import Evaluation
from mlip_train.generation import FitPlan, evaluate_fit
from tasks.artifacts import report_errors

__all__ = ["evaluate"]

_REPORT_EVERY = 500  # structures


@task(name="evaluate")
def evaluate(plan: FitPlan) -> Evaluation:
    """Compare the exported potential with DFT on the test and training sets, and with the trainer."""
    logger, total = get_run_logger(), plan.n_train + plan.n_test

    def report(done: int) -> None:
        if done % _REPORT_EVERY == 0:
            logger.info("Evaluated %d of %d structures", done, total)

    evaluation = evaluate_fit(plan, report)
    logger.info("Errors of generation %d: %s", plan.generation, evaluation)
    report_errors(plan, evaluation)
    return evaluation
