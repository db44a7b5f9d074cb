"""Writing a generation's input files."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.planning import FitPlan, write_fit

__all__ = ["render"]


@task(name="render", task_run_name="render")
def render(plan: FitPlan) -> None:
    """Write input.yaml and the data of a fit."""
    notes = write_fit(plan)
    logger = get_run_logger()
    logger.info(
        "Generation %d: %d training and %d test structures, up to %d iterations. Run directory: %s",
        plan.generation, plan.n_train, plan.n_test, plan.most_iterations, plan.run.root,
    )  # fmt: skip
    for note in notes:
        logger.warning("%s", note)
