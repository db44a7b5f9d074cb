"""Taking DFT results into the dataset."""

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.accumulation import Accumulation
from mlip_train.intake.accumulation import accumulate as accumulate_batch
from mlip_train.intake.staging import stage_dft_results
from mlip_train.report.artifact_pages import dataset_rows
from tasks.artifacts import leave_table

__all__ = ["accumulate", "stage_dft_results"]


@task(name="accumulate", task_run_name="accumulate")
def accumulate(campaign: Path, data: list[str]) -> Accumulation:
    """Check a batch of DFT results and store what is new."""
    logger = get_run_logger()
    summary = accumulate_batch(Campaign(campaign), data)
    logger.info("Dataset: %s", summary)
    if summary.n_refused:
        logger.warning("Put into quarantine:\n%s", summary.list_refusals())
    leave_table(campaign, "dataset", dataset_rows(Campaign(campaign)), "Structures in the dataset, per generation")
    return summary
