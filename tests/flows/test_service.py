"""The service as it runs: a server, deployments, one CPU and one GPU worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.states import Cancelling

from deployments.deploy import CPU_POOL, GPU_POOL, deploy
from flows.train_generation import train_generation
from mlip_train import Campaign, Potential
from tests.conftest import REPOSITORY, SILICON
from tests.flows.processes import engines_of, wait_for

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]
WriteFrames = Callable[[Path, int, int], Path]

ELSEWHERE = {"deployment": "train-potential/gpu"}
PATIENCE = 180.0  # seconds


@pytest.fixture(scope="module")
def service(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Everything that `make deploy` and `make work` bring up; yields the server's address."""
    deploy()
    log = tmp_path_factory.mktemp("service") / "workers.log"
    quick = {"PREFECT_API_URL": f"{prefect_server}/api", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with log.open("wb") as stream:
        workers = subprocess.Popen(
            [sys.executable, "-m", "deployments.work"],
            cwd=REPOSITORY,
            env={**os.environ, **quick},
            stdout=stream,
            stderr=stream,
        )
        try:
            yield prefect_server
        finally:
            workers.terminate()
            assert workers.wait(60) == 0, log.read_text()[-3000:]


def ask_for(deployment: str, **parameters: Any) -> FlowRun:
    """Start a run as the form of the UI does."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        return client.create_flow_run_from_deployment(found.id, parameters=parameters)


def read(run: UUID) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


def ended(run: UUID) -> FlowRun:
    """The run once it has come to its end."""
    assert wait_for(lambda: (read(run).state or Cancelling()).is_final(), PATIENCE), read(run).state
    return read(run)


def trainings_of(run: UUID) -> list[FlowRun]:
    """The runs of train-potential that a generation has started."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    with get_client(sync_client=True) as client:
        of_parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
        return client.read_flow_runs(flow_run_filter=of_parent)


def bundle(campaign: Campaign) -> dict[str, str]:
    """Checksums of what MD runs; the record differs in times."""
    potential = Potential.current(campaign)
    assert potential is not None
    return potential.record.files


@pytest.fixture(scope="module")
def expected(
    service: str,
    tmp_path_factory: pytest.TempPathFactory,
    campaign_text: Callable[..., str],
    write_frames: WriteFrames,
) -> dict[str, str]:
    """The bundle that the first six structures give when `train_generation` is called from Python."""
    place = tmp_path_factory.mktemp("expected")
    campaign = Campaign.create(place / "campaign", campaign_text())
    train_generation(campaign.root, [write_frames(place / "batch.extxyz", 0, 6)])
    return bundle(campaign)


def test_what_deploying_makes(service: str) -> None:
    with get_client(sync_client=True) as client:
        slots = {pool.name: pool.concurrency_limit for pool in client.read_work_pools()}
        assert (slots[CPU_POOL], slots[GPU_POOL]) == (None, 1)
        assert client.read_automations_by_name("mlip-train: crash silent runs")


def test_a_form_starts_a_generation(
    expected: dict[str, str], make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    run = ended(ask_for("train-generation/cpu", campaign=str(campaign.root), data=[str(write_batch(0, 6))]).id)
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    assert run.work_pool_name == "cpu-pool"
    (training,) = trainings_of(run.id)
    assert training.work_pool_name is None  # in the same process
    assert bundle(campaign) == expected


def test_the_command_line_starts_a_generation(
    service: str, expected: dict[str, str], make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    command = [sys.executable, "-m", "deployments.cli", "run", str(campaign.root), str(write_batch(0, 6))]
    subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "PREFECT_API_URL": f"{service}/api"}, check=True)
    assert bundle(campaign) == expected


def test_a_flow_starts_a_generation_in_itself_or_in_the_service(
    expected: dict[str, str], make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    data = [str(write_batch(0, 6))]
    inside, outside = make_campaign("inside"), make_campaign("outside")

    @flow
    def upstream() -> None:
        train_generation(inside.root, data)
        asked = {"campaign": str(outside.root), "data": data}
        run = run_deployment("train-generation/cpu", parameters=asked, poll_interval=1)
        assert run.state is not None
        assert run.state.is_completed(), run.state.message

    upstream()
    assert bundle(inside) == bundle(outside) == expected


def test_a_training_elsewhere_gives_the_same_bundle(
    expected: dict[str, str], make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(placement=ELSEWHERE)
    run = ended(ask_for("train-generation/cpu", campaign=str(campaign.root), data=[str(write_batch(0, 6))]).id)
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    (training,) = trainings_of(run.id)
    assert training.work_pool_name == "gpu-pool"
    assert bundle(campaign) == expected


def test_a_form_makes_a_campaign_and_the_real_engine_trains_it_where_the_gpus_are(
    service: str, tmp_path: Path
) -> None:
    campaign = tmp_path / "silicon"
    settings = {
        "elements": ["Si"],
        "preset": "quick",
        "basis": None,
        "fit": {"max_epochs": 10},
        "engine": {"placement": ELSEWHERE},
    }
    data = [str(SILICON / "batch_1.extxyz")]
    run = ended(ask_for("train-generation/cpu", campaign=str(campaign), data=data, new_campaign=settings).id)
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    (training,) = trainings_of(run.id)
    assert training.work_pool_name == "gpu-pool"
    potential = Potential.current(Campaign(campaign))
    assert potential is not None
    assert potential.record.devices is not None
    assert "CPU:0" in potential.record.devices
    assert {"start_up", "evaluator", "optimiser"} <= set(potential.record.seconds)


def test_two_trainings_share_one_gpu_slot_in_turn(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaigns = [make_campaign(name, placement=ELSEWHERE) for name in ("one", "other")]
    data = [str(write_batch(0, 6))]
    runs = [ask_for("train-generation/cpu", campaign=str(campaign.root), data=data) for campaign in campaigns]
    assert {ended(run.id).state_name for run in runs} == {"Completed"}
    first, second = sorted(
        (training for run in runs for training in trainings_of(run.id)),
        key=lambda run: run.start_time or run.created,
    )
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time


def test_an_event_starts_a_generation(
    expected: dict[str, str], make_campaign: MakeCampaign, write_frames: WriteFrames
) -> None:
    campaign = make_campaign()
    write_frames(campaign.root / "inbox" / "results.extxyz", 0, 6)
    emit_event(
        "mlip-train.dft-results.landed",
        resource={"prefect.resource.id": f"mlip-train.campaign.{campaign.name}"},
        payload={"campaign": str(campaign.root), "min_new_structures": 6},
    )
    assert wait_for(lambda: (campaign.root / "inbox" / "done" / "gen_01" / "results.extxyz").exists(), PATIENCE)
    assert bundle(campaign) == expected


def test_a_schedule_starts_a_generation(
    expected: dict[str, str], make_campaign: MakeCampaign, write_frames: WriteFrames
) -> None:
    campaign = make_campaign()
    write_frames(campaign.root / "inbox" / "results.extxyz", 0, 6)
    with get_client(sync_client=True) as client:
        watch = client.read_deployment_by_name("watch-inbox/cpu")
        every = DeploymentScheduleCreate(
            schedule=IntervalSchedule(interval=timedelta(seconds=30)),
            active=True,
            slug=None,
            parameters={"campaign": str(campaign.root), "settle_seconds": 0},
        )
        response = client._client.post(
            f"/deployments/{watch.id}/schedules", json=[every.model_dump(mode="json", exclude_unset=True)]
        )
        response.raise_for_status()
        try:
            landed = campaign.root / "inbox" / "done" / "gen_01" / "results.extxyz"
            assert wait_for(landed.exists, PATIENCE)
        finally:
            (made,) = response.json()
            client.delete_deployment_schedule(watch.id, made["id"])
    assert bundle(campaign) == expected


def test_a_training_that_fails_elsewhere_fails_here_with_its_reason(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(placement=ELSEWHERE, environment={"STANDIN_FAILS": "nan_loss"})
    run = ended(ask_for("train-generation/cpu", campaign=str(campaign.root), data=[str(write_batch(0, 6))]).id)
    assert run.state is not None
    assert run.state.is_failed()
    assert "loss is not a finite number" in str(run.state.message)
    assert Potential.current(campaign) is None


def test_a_training_in_the_pool_of_its_own_run_does_not_wait_for_itself(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(placement={"deployment": "train-generation/cpu"})
    run = ended(ask_for("train-generation/cpu", campaign=str(campaign.root), data=[str(write_batch(0, 6))]).id)
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    (training,) = trainings_of(run.id)
    assert training.work_pool_name is None


@pytest.mark.parametrize("placement", ["here", ELSEWHERE], ids=["here", "elsewhere"])
def test_a_run_that_is_cancelled_leaves_no_engine_and_can_be_repeated(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch, tmp_path: Path, placement: Any
) -> None:
    let_go = tmp_path / "let_go"
    campaign = make_campaign(placement=placement, environment={"STANDIN_UNTIL": str(let_go)})
    data = [str(write_batch(0, 6))]
    run = ask_for("train-generation/cpu", campaign=str(campaign.root), data=data)
    assert wait_for(lambda: engines_of(campaign), PATIENCE)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert ended(run.id).state_name == "Cancelled"
    assert {ended(training.id).state_name for training in trainings_of(run.id)} == {"Cancelled"}
    assert wait_for(lambda: not engines_of(campaign), 30)
    assert Potential.current(campaign) is None

    let_go.touch()
    again = ended(ask_for("train-generation/cpu", campaign=str(campaign.root), data=data).id)
    assert again.state is not None
    assert again.state.is_completed(), again.state.message
    assert len(campaign.store) == 6
    assert Potential.current(campaign) is not None


def test_runs_of_one_campaign_wait_for_each_other(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_SECONDS": "0.5"})
    batches = [write_batch(0, 6), write_batch(6, 12)]
    runs = [ask_for("train-generation/cpu", campaign=str(campaign.root), data=[str(batch)]) for batch in batches]
    assert {ended(run.id).state_name for run in runs} == {"Completed"}
    assert len(campaign.store) == 12
    current = Potential.current(campaign)
    assert current is not None
    assert current.generation == 2


def test_a_training_that_outlived_its_run_is_waited_for_and_used(
    service: str, make_campaign: MakeCampaign, write_batch: WriteBatch, tmp_path: Path
) -> None:
    let_go = tmp_path / "let_go"
    campaign = make_campaign(placement=ELSEWHERE, environment={"STANDIN_UNTIL": str(let_go)})
    data = [str(write_batch(0, 6))]
    run = ask_for("train-generation/cpu", campaign=str(campaign.root), data=data)
    assert wait_for(lambda: engines_of(campaign), PATIENCE)
    os.kill(int(str(read(run.id).infrastructure_pid).rpartition(":")[2]), signal.SIGKILL)
    again = ask_for("train-generation/cpu", campaign=str(campaign.root), data=data)
    assert wait_for(lambda: trainings_of(again.id), PATIENCE)
    assert engines_of(campaign)
    let_go.touch()
    done = ended(again.id)
    assert done.state is not None
    assert done.state.is_completed(), done.state.message
    assert campaign.generation(1).log.read_text().count("stand-in engine, loading") == 1
