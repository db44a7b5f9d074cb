"""Servers restart and processes are killed: no engine is left behind, no run stays Running, nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from deployments.deploy import deploy
from deployments.local_server import LocalServer, answers
from mlip_train import Campaign, Potential
from tests.flows.test_sudden_death import engines_of, start_run, wait_for

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    """A server of its own, which a test may stop."""
    server = LocalServer(tmp_path / "server")
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
    make_campaign: MakeCampaign, write_batch: WriteBatch, server: LocalServer
) -> None:
    campaign = make_campaign(environment={"STANDIN_SECONDS": "4"})
    url = server.url()
    assert url is not None
    process = start_run(campaign, write_batch(0, 6), url)
    assert wait_for(lambda: engines_of(campaign), 60)
    server.stop()
    assert engines_of(campaign)
    server._spawn(int(url.rpartition(":")[2]))
    assert wait_for(lambda: answers(url), 120)
    assert process.wait(180) == 0
    assert Potential.current(campaign) is not None
    assert states(url, "train-generation") == states(url, "train-potential") == ["Completed"]
    _end_server_at(url)


def _end_server_at(url: str) -> None:
    port = int(url.rpartition(":")[2])
    for process in psutil.process_iter():
        try:
            if any(connection.laddr.port == port for connection in process.net_connections("tcp")):
                process.terminate()
        except psutil.Error:
            continue


def test_a_run_whose_process_was_killed_is_marked_crashed(
    make_campaign: MakeCampaign, write_batch: WriteBatch, server: LocalServer
) -> None:
    url = server.url()
    assert url is not None
    with temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        deploy()
    campaign, data = make_campaign(environment={"STANDIN_SECONDS": "60"}), write_batch(0, 6)
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "30"
    try:
        process = start_run(campaign, data, url)
    finally:
        del os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
    assert wait_for(lambda: engines_of(campaign), 60)
    assert wait_for(lambda: _has_beaten(url), 60)
    process.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not engines_of(campaign), 30)
    assert wait_for(lambda: states(url, "train-generation") == ["Crashed"], 300), states(url, "train-generation")
    assert wait_for(lambda: states(url, "train-potential") == ["Crashed"], 60)


def _has_beaten(url: str) -> bool:
    from datetime import UTC, datetime, timedelta

    started = [run.start_time for run in runs(url, "train-generation") if run.start_time]
    return bool(started) and datetime.now(UTC) - started[0] > timedelta(seconds=2)
