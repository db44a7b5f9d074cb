"""Choosing what a fit learns from."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.selection import Selection, select_structures
from tasks.artifacts import report_selection
from tasks.cluster import where_the_flow_runs
from tasks.progress import every

__all__ = ["select"]


@task(name="select", task_run_name="select")
def select(campaign: Path, generation: int) -> Selection:
    """Choose the training structures of a generation, by maxvol if the campaign asks for it."""
    logger = get_run_logger()
    report = every(500, lambda done: logger.info("Projected %d structures", done))
    with where_the_flow_runs():
        selection = select_structures(Campaign(campaign), generation, report)
    logger.info("Learning from %s (%.1f s)", selection, selection.seconds)
    report_selection(campaign, generation, selection)
    return selection
