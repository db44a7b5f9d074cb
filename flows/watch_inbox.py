"""What was dropped into a campaign's inbox in, the next potential out."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.ending import REJECTED, ends_in, failed, log_plainly
from flows.train_generation import GenerationResult, train_generation
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import CampaignBusyError, MlipTrainError
from mlip_train.intake.accumulation import Accumulation, preview
from mlip_train.intake.inbox import Inbox
from mlip_train.potential.potential import Potential
from tasks.inbox import claim, examine, finish

__all__ = ["watch_inbox"]


def _run_name() -> str:
    return f"{Path(flow_run.parameters['campaign']).name} inbox"


# Prefect's form explains parameters that are described in this style only
@flow(name="watch-inbox", flow_run_name=_run_name)
def watch_inbox(
    campaign: Path,
    min_new_structures: Annotated[int, Field(ge=1)] = 1,
    settle_seconds: Annotated[float, Field(ge=0)] = 30.0,
) -> GenerationResult:
    """Run a generation on what was dropped into the inbox, once there is enough of it.

    The run ends like that of the generation, or in state Skipped when there is too little to learn from or another
    run watches this inbox. A run of the campaign that began otherwise is waited for.

    Args:
        campaign: Directory of the campaign (made by `mlip-train init`).
        min_new_structures: Wait until so many structures are there that the dataset does not hold yet.
        settle_seconds: A file or folder is complete when it did not change for so long (s). Choose it longer than
            the pauses of whoever writes there, and than the attribute cache of a network file system (often 60 s).
    """
    log_plainly()
    try:
        return ends_in(_watch(Campaign(campaign), min_new_structures, settle_seconds))
    except MlipTrainError as error:
        return ends_in(failed(error))


def _watch(here: Campaign, min_new_structures: int, settle_seconds: float) -> State[GenerationResult]:
    try:
        with Inbox(here).hold():
            arrivals = examine(here.root, settle_seconds)
            if not arrivals.is_worth_a_generation(min_new_structures):
                why = f"waiting for at least {min_new_structures} new structures: {arrivals}"
                return _skipped(here, why, arrivals.brings)
            if not claim(here.root, arrivals.complete, settle_seconds):
                return _skipped(here, f"nothing could be claimed: {arrivals}", arrivals.brings)
            state = train_generation(here.root, [Inbox(here).pattern], return_state=True)
            if state.is_completed() or state.name == REJECTED:  # it is learned from, whatever came of it
                finish(here.root)
            result: GenerationResult = state.result()
    except CampaignBusyError as error:
        return _skipped(here, str(error), preview(here, []).brings)
    return Completed(name=state.name, message=state.message, data=result)


def _skipped(campaign: Campaign, why: str, batch: Accumulation) -> State[GenerationResult]:
    result = GenerationResult(status="skipped", potential=Potential.current(campaign), batch=batch)
    return Completed(name="Skipped", message=why, data=result)
