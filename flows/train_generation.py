"""DFT results in, the next potential out."""

from pathlib import Path
from typing import Annotated, Literal

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed
from prefect.utilities.urls import url_for
from pydantic import WithJsonSchema

from flows.ending import ends_in, failed, log_plainly
from flows.train_committee import train_committee
from flows.train_potential import train_where_placed
from mlip_train.assess.decision import check_accepted
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.new_campaign import NewCampaign, provide_campaign
from mlip_train.errors import MlipTrainError
from mlip_train.intake.accumulation import Accumulation
from mlip_train.potential.potential import Potential
from tasks.accumulate import accumulate
from tasks.artifacts import never_in_the_way
from tasks.steps import check, close, evaluate, grade, judge, lay_basis, publish, render, report, select, start

__all__ = ["GenerationResult", "train_generation"]

# one kind of text in the form, which would offer a choice between two
Source = Annotated[str | Path, WithJsonSchema({"type": "string"})]

_TEMPORARY_SERVER = (
    "Prefect started a temporary server, which loses task runs. Start one that stays with `make serve` and set "
    "PREFECT_API_URL to the address it prints, with /api behind it"
)


class GenerationResult(Frozen):
    """What a run came to: the new potential, or the current one when there was nothing to learn."""

    status: Literal["published", "skipped"]
    potential: Potential | None
    batch: Accumulation


def _run_name() -> str:
    return Path(flow_run.parameters["campaign"]).name


# Prefect's form explains parameters that are described in this style only
@flow(name="train-generation", flow_run_name=_run_name)
def train_generation(
    campaign: Path, data: list[Source], new_campaign: NewCampaign | None = None
) -> GenerationResult:
    """Turn a batch of DFT results into the next potential.

    The run ends in state Completed with the new potential, Skipped when everything was known already, Rejected
    when the potential is not fit to become the current one, or Failed.

    Args:
        campaign: Directory of the campaign; one that is not there yet is made, if `new_campaign` is given.
        data: DFT results: files that ASE can read, folders of them, or glob patterns.
        new_campaign: What a new campaign trains. Leave it None for one that is there: its campaign.yaml counts.
    """
    _greet()
    try:
        here = provide_campaign(campaign, new_campaign)
        with here.hold(on_wait=_log_waiting):
            return ends_in(_run(here, [str(source) for source in data]))
    except MlipTrainError as error:
        return ends_in(failed(error))


def _greet() -> None:
    log_plainly()
    logger = get_run_logger()
    # for the terminal; the page needs no link to itself
    logger.info("This run in Prefect: %s", url_for("flow-run", obj_id=flow_run.id), extra={"send_to_api": False})
    if get_current_settings().api.url is None:
        logger.warning(_TEMPORARY_SERVER)


def _run(here: Campaign, data: list[str]) -> State[GenerationResult]:
    batch = accumulate(here.root, data)
    if batch.generation is None:
        return _skipped(here, batch)
    _name_run(f"{here.name} generation {batch.generation}")
    ground = lay_basis(here.root, batch.generation)
    selection = select(ground)
    plan = start(ground, selection)
    render(plan)
    fit = train_where_placed(plan)
    closed = close(plan)
    grade(plan)
    evaluation = evaluate(plan)
    checks = check(plan, closed)
    verdict = judge(plan, evaluation, checks)
    committee = train_committee(plan, closed)
    potential = publish(plan, fit, closed, evaluation, checks, verdict, committee)
    report(here.root, potential)
    check_accepted(here, potential)
    return _published(potential, batch)


def _log_waiting(busy: str) -> None:
    get_run_logger().info("%s; waiting for it to end", busy)


def _published(potential: Potential, batch: Accumulation) -> State[GenerationResult]:
    ended = f"stopped: {potential.record.convergence}"
    message = f"generation {potential.generation}: {potential.yace}; {potential.errors}; {ended}"
    result = GenerationResult(status="published", potential=potential, batch=batch)
    return Completed(message=message, data=result)


def _skipped(campaign: Campaign, batch: Accumulation) -> State[GenerationResult]:
    current = Potential.current(campaign)
    where = f"the current potential is {current.yace}" if current else "no potential was published yet"
    _name_run(f"{campaign.name} skipped")
    newest = campaign.published_generations()[-1:]
    if newest and not (last := Potential.of(campaign, newest[0])).record.accepted:
        where += f"; generation {last.generation} is {last.record.state}, and nothing has changed since"
    result = GenerationResult(status="skipped", potential=current, batch=batch)
    return Completed(name="Skipped", message=f"nothing new to learn from: {batch}; {where}", data=result)


def _name_run(name: str) -> None:
    """Rename the run once its generation is known, which is after the batch was read."""
    with never_in_the_way(), get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name)
