"""Writing down what a person needs to decide."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.errors import MlipTrainError
from mlip_train.potential import Potential
from mlip_train.report import write_index, write_report

__all__ = ["report"]


@task(name="report", task_run_name="report")
def report(campaign: Path, potential: Potential) -> None:
    """Write the generation's report.html and the campaign's index.html."""
    here = Campaign(campaign)
    try:
        written = write_report(here, potential.generation)
        write_index(here)
    except (MlipTrainError, OSError) as error:  # the potential is published by now
        get_run_logger().warning("The report could not be written (%s); the run goes on", error)
    else:
        get_run_logger().info("Report: %s", written)
