"""The fit of a generation, where its engine runs: in the process of the generation, or on a GPU machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, ObjectNotFound, PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.ending import ends_in, failed, log_plainly
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, finished_fit, read_plan
from mlip_train.errors import EngineNotFoundError, MlipTrainError, TrainingInterruptedError
from mlip_train.records.fit import FitRecord
from tasks.train import train

__all__ = ["begin_training", "train_potential", "train_where_placed"]

_LOOK_EVERY = 2.0  # seconds between two looks at a training elsewhere


def _run_name() -> str:
    asked = flow_run.parameters
    member = f" member {asked['member']}" if asked["member"] else ""
    return f"{Path(asked['campaign']).name} training {asked['generation']}{member}"


@flow(name="train-potential", flow_run_name=_run_name, persist_result=True)
def train_potential(campaign: Path, generation: int, identity: str, member: int = 0) -> FitRecord:
    """Run a fit that train-generation has planned; that flow starts this one.

    Args:
        campaign: Directory of the campaign, on a file system that both machines share, under the same path.
        generation: Number of the generation.
        identity: Which fit is meant: `identity` in its plan.json.
        member: Number of a member of the generation's committee; 0 for the generation's own fit.
    """
    log_plainly()
    try:
        return train(read_plan(Campaign(campaign), generation, identity, member))
    except MlipTrainError as error:
        return ends_in(failed(error))


def train_where_placed(plan: FitPlan) -> FitRecord:
    """Run a planned fit where `engine.placement` says.

    Raises
    ------
    MlipTrainError
        Whatever the training raised, there or here.
    """
    return begin_training(plan)()


def begin_training(plan: FitPlan) -> Callable[[], FitRecord]:
    """Ask for a planned fit where `engine.placement` says; what is returned waits for it, or runs it here.

    So fits that are asked for one after the other run at once elsewhere, as far as there are slots. In this
    process one runs at a time.
    """
    parameters = {"campaign": plan.campaign, "generation": plan.generation, "identity": plan.identity}
    if plan.member:
        parameters["member"] = plan.member
    placement = plan.config.engine.placement
    if placement == "here":
        return partial(train_potential, **parameters)
    if _occupies_a_slot_of(placement.deployment):
        get_run_logger().info("This run is in the work pool of %s: it trains itself", placement.deployment)
        return partial(train_potential, **parameters)
    get_run_logger().info("%s is trained by %s", plan.name.capitalize(), placement.deployment)
    with _explained_if_lost(plan, placement.deployment):
        # outside of an event loop, as here, it answers at once
        run = cast(FlowRun, run_deployment(placement.deployment, parameters=parameters, timeout=0))
    return partial(_wait_for, plan, placement.deployment, run)


def _wait_for(plan: FitPlan, deployment: str, run: FlowRun) -> FitRecord:
    with _explained_if_lost(plan, deployment), get_client(sync_client=True) as client:
        while run.state is not None and not run.state.is_final():
            time.sleep(_LOOK_EVERY)
            run = client.read_flow_run(run.id)
    return _record_of(plan, deployment, run)


@contextmanager
def _explained_if_lost(plan: FitPlan, deployment: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:  # its run was deleted, or it takes other parameters
        raise TrainingInterruptedError(
            f"{plan.name} was not trained by {deployment} ({type(error).__name__}: {error}); see that "
            "engine.placement names a deployment of train-potential, and run the same command again: a training "
            "that goes on is waited for"
        ) from error


def _occupies_a_slot_of(deployment: str) -> bool:
    """Whether a training there could wait for ever, for the slot that this run, or one it is a part of, has."""
    with get_client(sync_client=True) as client:
        try:
            theirs = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound as error:
            raise EngineNotFoundError(  # by now the dataset has changed
                f"engine.placement: there is no deployment {deployment} on {client.api_url}; run: make deploy"
            ) from error
        return theirs is not None and theirs in _pools_of(client, flow_run.id)


def _pools_of(client: SyncPrefectClient, run_id: UUID) -> Iterator[str | None]:
    """The work pools of a run and of those that wait for it; a subflow itself has none."""
    run = client.read_flow_run(run_id)
    yield run.work_pool_name
    if run.parent_task_run_id is not None:
        parent = client.read_task_run(run.parent_task_run_id).flow_run_id
        if parent is not None:
            yield from _pools_of(client, parent)


def _record_of(plan: FitPlan, deployment: str, run: FlowRun) -> FitRecord:
    """What a training elsewhere came to; its record is in the generation's directory, which it shares with us."""
    state = run.state
    if state is not None and state.is_completed():
        record = finished_fit(plan.run, plan.identity)
        if record is not None:
            return record
        raise TrainingInterruptedError(
            f"{deployment} has trained {plan.name}, but {plan.run.fit_record} is not here; its "
            "workers must see the campaign under the same path on the same file system"
        )
    reason = f"{state.name}: {state.message}" if state is not None else "it has no state"
    interrupted = TrainingInterruptedError(
        f"{plan.name} was not trained by {deployment} ({reason}); run the same command again: "
        "it resumes from the newest interim potential"
    )
    try:
        if state is not None:
            state.result()
    except (CancelledRun, CrashedRun, FailedRun, ValueError) as error:
        # a ValueError is Prefect's where the error that was raised lies on a disk of the other machine
        raise interrupted from error
    raise interrupted
