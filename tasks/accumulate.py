"""Taking DFT results into the dataset."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.accumulation import Accumulation
from mlip_train.accumulation import accumulate as accumulate_batch
from mlip_train.campaign import Campaign
from mlip_train.staging import stage_dft_results
from tasks.artifacts import report_dataset

__all__ = ["accumulate", "stage_dft_results"]


@task(name="accumulate", task_run_name="accumulate")
def accumulate(campaign: Path, data: list[str]) -> Accumulation:
    """Check a batch of DFT results and store what is new."""
    logger = get_run_logger()
    summary = accumulate_batch(Campaign(campaign), data)
    logger.info("Dataset: %s", summary)
    if summary.n_refused:
        logger.warning("Put into quarantine:\n%s", summary.list_refusals())
    report_dataset(Campaign(campaign))
    return summary
