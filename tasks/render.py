"""Preparing a generation's run directory."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.generation import FitPlan, plan_fit

__all__ = ["render"]


@task(name="render")
def render(campaign: Path, generation: int) -> FitPlan:
    """Write input.yaml, the data and the start potential of a generation."""
    plan = plan_fit(Campaign(campaign), generation)
    get_run_logger().info(
        "Generation %d: %d training and %d test structures, up to %d iterations; %s. Run directory: %s",
        generation, plan.n_train, plan.n_test, plan.most_iterations, plan.start, plan.run.root,
    )  # fmt: skip
    return plan
