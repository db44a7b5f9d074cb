"""A worker that is told to end while it trains: with Prefect's own, the run would stay Running for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessWorker

from flows.train_generation import train_generation
from mlip_train.campaign.campaign import Campaign
from tests.conftest import REPOSITORY

POOL = "pool-of-a-worker-that-ends"

pytestmark = [pytest.mark.usefixtures("prefect_processes")]


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient) -> UUID:
    """`train-generation` in a process pool of its own."""
    template = ProcessWorker.get_default_base_job_template()
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template), overwrite=True)
    return client.create_deployment(
        flow_id=client.create_flow(train_generation),
        name="worker-that-ends",
        work_pool_name=POOL,
        entrypoint="flows/train_generation.py:train_generation",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(REPOSITORY)}}],
    )


@pytest.fixture
def worker(prefect_server: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"PREFECT_API_URL": f"{prefect_server}/api", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "deployments.worker", POOL, "--limit", "1"]
    with (tmp_path / "worker.log").open("wb") as log:
        # from a script, which is where a worker would inherit an interrupt that is ignored
        started = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
    yield started
    for process in (*psutil.Process().children(recursive=True),):
        if process.is_running() and str(POOL) in " ".join(process.cmdline()):
            process.kill()
    started.wait(30)


def test_a_worker_ends_its_runs_before_itself(
    client: SyncPrefectClient,
    deployment: UUID,
    worker: subprocess.Popen[bytes],
    make_campaign: Callable[..., Campaign],
    write_batch: Callable[[int, int], Path],
    tmp_path: Path,
) -> None:
    campaign = make_campaign(environment={"STANDIN_SECONDS": "1"}, fit={"max_epochs": 500})
    parameters = {"campaign": str(campaign.root), "data": [str(write_batch(0, 12))]}
    run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    log = tmp_path / "worker.log"
    until = time.monotonic() + 240
    while not (campaign.generation(1).interim_potential).exists():
        assert worker.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.5)
    engines = [child for child in psutil.Process(worker.pid).children(recursive=True) if _is_engine(child)]
    assert engines

    worker.terminate()
    assert worker.wait(90) == 0, log.read_text()
    assert not any(engine.is_running() for engine in engines)
    state = client.read_flow_run(run.id).state
    assert state is not None
    assert state.is_crashed(), state
    assert campaign.generation(1).interim_potential.exists()
    with campaign.hold():
        assert campaign.pending_generation() == 1


def _is_engine(process: psutil.Process) -> bool:
    return any(part.endswith("standin/pacemaker.py") for part in process.cmdline())
