"""Register the service with a Prefect server: work pools, deployments and automations. May be repeated."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.utilities.urls import url_for

from deployments.local_server import prefect_api
from flows.ending import OUR_FLOWS
from mlip_train.errors import MlipTrainError

__all__ = ["CPU_POOL", "GPU_POOL", "deploy", "provide_pools"]

CPU_POOL: Final = "cpu-pool"
GPU_POOL: Final = "gpu-pool"
_HOME: Final = Path(__file__).resolve().parent.parent
_FILE: Final = _HOME / "deployments" / "prefect.yaml"
_MISSED: Final = 4  # heartbeats; with fewer, a busy machine would lose healthy runs
_USUAL_BEAT: Final = 180  # seconds


def deploy() -> None:
    """Create or update everything that runs are started from; schedules and pauses that are there stay.

    Raises
    ------
    MlipTrainError
        When Prefect does not take the deployments.
    """
    provide_pools()
    with get_client(sync_client=True) as client, _keeping_what_people_chose(client):
        _deploy_file()
    _provide_automation(_crash_what_is_silent())


def provide_pools() -> None:
    """Create the work pools that are not there yet; a worker would make one for any number of runs at once."""
    with get_client(sync_client=True) as client:
        _provide_pool(client, CPU_POOL, slots=None)
        _provide_pool(client, GPU_POOL, slots=1)


def _deploy_file() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(_FILE)]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "MLIP_TRAIN_HOME": str(_HOME)}
    asked = subprocess.run(command, cwd=_HOME, env=environment, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise MlipTrainError(f"Prefect did not take {_FILE}:\n{asked.stdout}{asked.stderr}")


@contextlib.contextmanager
def _keeping_what_people_chose(client: SyncPrefectClient) -> Iterator[None]:
    """Put back what Prefect replaces by that of the file: when deployments run, for which campaigns, or not."""
    before = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=list(OUR_FLOWS))))
    try:
        yield
    finally:
        for deployment in before:
            schedules = [
                DeploymentScheduleUpdate(
                    schedule=known.schedule,
                    active=known.active,
                    max_scheduled_runs=known.max_scheduled_runs,
                    parameters=known.parameters,
                    slug=known.slug or str(known.id),  # those made in the UI have none, and all need one here
                )
                for known in deployment.schedules
            ]
            chosen = DeploymentUpdate(paused=deployment.paused, schedules=schedules)
            client.update_deployment(deployment.id, chosen)


def _provide_pool(client: SyncPrefectClient, name: str, slots: int | None) -> None:
    """A work pool of processes; one that is there already, of whatever type, keeps its template and slots."""
    with contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=slots))


def _provide_automation(wanted: Automation) -> None:
    try:
        known = cast(Automation, Automation.read(name=wanted.name))  # outside of an event loop, as here
    except ValueError:  # there is none
        wanted.create()
        return
    wanted.id = known.id
    wanted.update()


def _crash_what_is_silent() -> Automation:
    """A run whose process was killed says nothing any more; without this it would stay Running for ever."""
    heartbeat = "prefect.flow-run.heartbeat"
    ends = ("Completed", "Skipped", "Failed", "Rejected", "Crashed", "Cancelled")
    return Automation(
        name="mlip-train: crash silent runs",
        description="Marks runs as Crashed when their heartbeats stop.",
        trigger=EventTrigger(
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            # those of others on this server may pause, or have states of their own names, and not be dead
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(OUR_FLOWS)},
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{end}" for end in ends)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_MISSED * (get_current_settings().flows.heartbeat_frequency or _USUAL_BEAT)),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message="Its heartbeats stopped")],
    )


def _form() -> str:
    """Address of the page on which a person starts a generation."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("train-generation/cpu")
    return f"{url_for('deployment', obj_id=deployment.id)}/run"


def main() -> None:
    """Register the service with the configured server, or with the local one."""
    try:
        with prefect_api():
            deploy()
            print(f"Deployed. Next: make work. Then start a generation with this form:\n  {_form()}")
    except MlipTrainError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
