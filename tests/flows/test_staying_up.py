"""Servers restart and processes are killed: no engine is left behind, no run stays Running, nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from deployments.deploy import _crash_what_is_silent, _provide_automation
from deployments.local_server import LocalServer
from mlip_train import Campaign, Potential
from tests.flows.processes import engines_of, start_run, wait_for

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


@pytest.fixture
def server(tmp_path: Path, server_home: Callable[[Path], Path]) -> Iterator[LocalServer]:
    """A server of its own, which a test may stop."""
    server = LocalServer(server_home(tmp_path / "server"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def runs(url: str, name: str) -> list[FlowRun]:
    with temporary_settings({PREFECT_API_URL: f"{url}/api"}), get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return [run for run in client.read_flow_runs() if flows[run.flow_id] == name]


def states(url: str, name: str) -> list[str | None]:
    return [run.state_name for run in runs(url, name)]


def test_a_training_goes_on_while_the_server_restarts(
    make_campaign: MakeCampaign,
    write_batch: WriteBatch,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restarted = tmp_path / "restarted"  # however long that takes, the training is longer
    campaign = make_campaign(environment={"STANDIN_UNTIL": str(restarted)})
    url = server.url()
    assert url is not None
    process = start_run(campaign, write_batch(0, 6), url)
    assert wait_for(lambda: engines_of(campaign), 60)
    server.stop()
    assert engines_of(campaign)
    monkeypatch.setattr(LocalServer, "_free_port", lambda _: int(url.rpartition(":")[2]))
    assert server.start() == url
    assert engines_of(campaign)
    restarted.touch()
    assert process.wait(180) == 0
    assert Potential.current(campaign) is not None
    assert states(url, "train-generation") == states(url, "train-potential") == ["Completed"]


def test_a_run_whose_process_was_killed_is_marked_crashed(
    make_campaign: MakeCampaign, write_batch: WriteBatch, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url()
    assert url is not None
    often = 30  # seconds; Prefect beats no faster
    monkeypatch.setattr("deployments.deploy._MISSED", 0.5)  # of what is dead already none is late
    with temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: often}):
        _provide_automation(_crash_what_is_silent())
    campaign, data = make_campaign(environment={"STANDIN_SECONDS": "60"}), write_batch(0, 6)
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(often))
    process = start_run(campaign, data, url)
    assert wait_for(lambda: engines_of(campaign), 60)
    assert wait_for(lambda: len(alive(url)) == 2, 60)
    process.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not engines_of(campaign), 30)
    assert wait_for(lambda: states(url, "train-generation") == ["Crashed"], 120), states(url, "train-generation")
    assert wait_for(lambda: states(url, "train-potential") == ["Crashed"], 60)


def alive(url: str) -> set[str]:
    """Runs of which the server has heard a heartbeat."""
    asked = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
    told = httpx.post(f"{url}/api/events/filter", json=asked, trust_env=False).raise_for_status().json()
    return {event["resource"]["prefect.resource.id"] for event in told["events"]}
