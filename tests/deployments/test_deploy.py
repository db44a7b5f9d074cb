"""What is registered with a server, and that doing it again spoils nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta

import pytest
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.server.events.schemas.automations import EventTrigger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed

import deployments.deploy
from deployments.deploy import (
    _crash_what_is_silent,
    _keeping_what_people_chose,
    _provide_automation,
    _provide_pool,
)
from flows.train_generation import train_generation
from flows.train_potential import train_potential
from flows.watch_inbox import watch_inbox
from mlip_train.errors import MlipTrainError


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def silence() -> EventTrigger:
    """The trigger as the server understands it."""
    return EventTrigger.model_validate(_crash_what_is_silent().trigger.model_dump(mode="json"))


def test_a_run_is_watched_from_its_first_heartbeat_on(silence: EventTrigger) -> None:
    assert silence.starts_after("prefect.flow-run.heartbeat")
    assert silence.expects("prefect.flow-run.heartbeat")
    assert silence.posture == "Proactive"
    assert silence.for_each == {"prefect.resource.id"}  # one run's heartbeats say nothing of another's
    (action,) = _crash_what_is_silent().actions
    assert isinstance(action, ChangeFlowRunState)
    assert action.state is StateType.CRASHED
    assert not action.force  # a run that has ended stays as it ended


def test_a_run_that_ended_is_no_longer_watched(silence: EventTrigger) -> None:
    states = [Completed(), Failed(), Crashed(), Cancelled()]
    for name in (*(state.name for state in states), "Skipped", "Rejected"):
        assert silence.expects(f"prefect.flow-run.{name}"), name
    for name in ("Running", "Cancelling"):  # after which nothing would come from a run that is killed then
        assert not silence.expects(f"prefect.flow-run.{name}"), name


def test_only_our_flows_are_watched(silence: EventTrigger) -> None:
    (of_flow,) = silence.match_related if isinstance(silence.match_related, list) else [silence.match_related]
    flows = {flow.name for flow in (train_generation, train_potential, watch_inbox)}
    assert set(of_flow["prefect.resource.name"]) == flows
    assert of_flow["prefect.resource.role"] == ["flow"]


@pytest.mark.parametrize(("beat", "patience"), [(30, 120), (180, 720), (None, 720)])
def test_several_heartbeats_may_be_late(beat: int | None, patience: int) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: beat}):
        assert _crash_what_is_silent().trigger.within.total_seconds() == patience


def test_an_automation_that_is_there_is_changed_and_not_doubled(client: SyncPrefectClient) -> None:
    wanted = _crash_what_is_silent()
    wanted.name = "of this test"
    _provide_automation(wanted)
    again = _crash_what_is_silent()
    again.name, again.description = wanted.name, "changed"
    _provide_automation(again)
    (found,) = client.read_automations_by_name("of this test")
    assert found.description == "changed"
    Automation.read(name="of this test").delete()


def test_a_work_pool_that_somebody_changed_stays_so(client: SyncPrefectClient) -> None:
    name = "pool-of-this-test"
    _provide_pool(client, name, slots=1)
    assert client.read_work_pool(name).concurrency_limit == 1
    client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=4))
    _provide_pool(client, name, slots=1)
    assert client.read_work_pool(name).concurrency_limit == 4
    client.delete_work_pool(name)


def test_deployments_that_prefect_refuses_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: object, **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "this is the reason")

    monkeypatch.setattr(deployments.deploy, "get_client", lambda **_: nullcontext())
    monkeypatch.setattr(deployments.deploy, "provide_pools", lambda: None)
    monkeypatch.setattr(deployments.deploy, "_keeping_what_people_chose", nullcontext)
    monkeypatch.setattr(deployments.deploy, "_provide_automation", lambda _: None)
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(MlipTrainError, match=r"(?s)did not take .*prefect\.yaml.*this is the reason"):
        deployments.deploy.deploy()


def test_deploying_again_keeps_schedules_and_pauses(client: SyncPrefectClient) -> None:
    daily = IntervalSchedule(interval=timedelta(days=1))
    chosen = {"campaign": "/data/silicon"}
    own = DeploymentScheduleCreate(schedule=daily, active=True, slug="nightly", parameters=chosen)
    made = client.create_deployment(client.create_flow_from_name("watch-inbox"), "kept", schedules=[own])
    try:
        client.pause_deployment(made)
        with _keeping_what_people_chose(client):  # and Prefect does as it does with a file
            of_file = DeploymentScheduleUpdate(schedule=daily, active=False, slug="nightly")
            client.update_deployment(made, DeploymentUpdate(paused=False, schedules=[of_file]))
        kept = client.read_deployment(made)
        (schedule,) = kept.schedules
        assert (kept.paused, schedule.active, schedule.parameters) == (True, True, chosen)
    finally:
        client.delete_deployment(made)
