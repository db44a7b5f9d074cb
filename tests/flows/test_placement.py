"""Where a fit is trained, and what is made of a training elsewhere: without a server, which is made up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.results import ResultRecordMetadata
from prefect.serializers import PickleSerializer
from prefect.states import Cancelled, Completed, Crashed, Failed, State

import flows.train_potential as placing
from flows.train_potential import train_potential, train_where_placed
from mlip_train import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import EngineNotFoundError, TrainingFailedError, TrainingInterruptedError
from mlip_train.intake.accumulation import accumulate
from tests.mlip_train.planning import finished, planned

ELSEWHERE = "train-potential/gpu"


@pytest.fixture
def plan(make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]) -> FitPlan:
    campaign = make_campaign(start={"first": "zeros"}, placement={"deployment": ELSEWHERE})
    accumulate(campaign, [write_batch(0, 3)])
    return planned(campaign, 1)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sets the pools of the deployment, of this run and of its parents, and how a training elsewhere ends."""

    def set_up(theirs: str | None, *ours: str | None, state: State[Any] | None = None) -> list[str]:
        trained: list[str] = []

        def read_deployment_by_name(name: str) -> SimpleNamespace:
            if theirs == "no deployment":
                raise ObjectNotFound(Exception(name))
            return SimpleNamespace(work_pool_name=theirs)

        @contextlib.contextmanager
        def client(**_: object) -> Iterator[SimpleNamespace]:
            yield SimpleNamespace(
                read_deployment_by_name=read_deployment_by_name,
                # a run's number is that of its pool in `ours`, and its parent's the next
                read_flow_run=lambda run: SimpleNamespace(
                    work_pool_name=ours[run], parent_task_run_id=run + 1 if run + 1 < len(ours) else None
                ),
                read_task_run=lambda task: SimpleNamespace(flow_run_id=task),
                api_url="http://server/api",
            )

        def elsewhere(name: str, **_: object) -> FlowRun:
            trained.append(name)
            return FlowRun(flow_id=uuid4(), state=state)

        monkeypatch.setattr(placing, "get_client", client)
        monkeypatch.setattr(placing, "flow_run", SimpleNamespace(id=0))
        monkeypatch.setattr(placing, "get_run_logger", lambda: SimpleNamespace(info=lambda *_: None))
        monkeypatch.setattr(placing, "train_potential", lambda **_: trained.append("here"))
        monkeypatch.setattr(placing, "run_deployment", elsewhere)
        return trained

    return set_up


@pytest.mark.parametrize(
    ("theirs", "ours", "where"),
    [
        ("gpu-pool", ["cpu-pool"], ELSEWHERE),
        ("gpu-pool", [None], ELSEWHERE),
        ("gpu-pool", [None, "cpu-pool"], ELSEWHERE),
        (None, [None], ELSEWHERE),  # served by a process, which has no slots
        ("gpu-pool", ["gpu-pool"], "here"),  # whose only slot this run may have
        ("gpu-pool", [None, None, "gpu-pool"], "here"),  # a subflow is in the process of its parent
        ("gpu-pool", ["cpu-pool", "gpu-pool"], "here"),  # a parent keeps its slot while it waits
    ],
)
def test_no_run_waits_for_the_slot_that_it_has(
    plan: FitPlan, place: Callable[..., list[str]], theirs: str | None, ours: list[str | None], where: str
) -> None:
    trained = place(theirs, *ours, state=Cancelled())
    with contextlib.suppress(TrainingInterruptedError):
        train_where_placed(plan)
    assert trained == [where]


def test_a_deployment_that_does_not_exist_is_told(plan: FitPlan, place: Callable[..., list[str]]) -> None:
    # not as a mistake of the input, after which the dataset would be unchanged
    trained = place("no deployment", None)
    with pytest.raises(
        EngineNotFoundError, match=f"there is no deployment {ELSEWHERE} on http://server/api; run: make deploy"
    ):
        train_where_placed(plan)
    assert trained == []


@pytest.mark.parametrize("error", [ObjectNotFound(Exception("deleted")), httpx.ConnectError("no server")])
def test_a_training_that_prefect_lost_can_be_run_again(
    plan: FitPlan, place: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    place("gpu-pool", "cpu-pool")

    def lost(*_: object, **__: object) -> FlowRun:
        raise error

    monkeypatch.setattr(placing, "run_deployment", lost)
    told = f"not trained by {ELSEWHERE} .{type(error).__name__}: .*names a deployment of train-potential"
    with pytest.raises(TrainingInterruptedError, match=told):
        train_where_placed(plan)


def test_the_record_of_a_training_elsewhere_is_used(plan: FitPlan, place: Callable[..., list[str]]) -> None:
    record = finished(plan)
    place("gpu-pool", "cpu-pool", state=Completed())
    assert train_where_placed(plan) == record


def test_a_machine_that_sees_other_files_is_told(plan: FitPlan, place: Callable[..., list[str]]) -> None:
    place("gpu-pool", "cpu-pool", state=Completed())
    with pytest.raises(TrainingInterruptedError, match="is not here; its workers must see the campaign"):
        train_where_placed(plan)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Cancelled(message="by a person"), r"\(Cancelled: by a person\); run the same command again"),
        (
            Crashed(message="Its heartbeats stopped"),
            r"\(Crashed: Its heartbeats stopped\); run the same command again",
        ),
        (
            Failed(message="its result is nowhere"),
            r"\(Failed: its result is nowhere\); run the same command again",
        ),
        (None, r"\(it has no state\)"),
    ],
)
def test_a_training_that_was_interrupted_elsewhere_can_be_run_again(
    plan: FitPlan, place: Callable[..., list[str]], state: State[Any] | None, told: str
) -> None:
    place("gpu-pool", "cpu-pool", state=state)
    with pytest.raises(TrainingInterruptedError, match=f"was not trained by {ELSEWHERE} {told}"):
        train_where_placed(plan)


def test_the_error_of_a_training_elsewhere_is_raised_here(plan: FitPlan, place: Callable[..., list[str]]) -> None:
    place("gpu-pool", "cpu-pool", state=Failed(data=TrainingFailedError("this is the reason")))
    with pytest.raises(TrainingFailedError, match="this is the reason"):
        train_where_placed(plan)


def test_an_error_that_lies_on_a_disk_of_the_other_machine_is_told_as_far_as_it_is_known(
    plan: FitPlan, place: Callable[..., list[str]], tmp_path: Path
) -> None:
    there = ResultRecordMetadata(storage_key=str(tmp_path / "there"), serializer=PickleSerializer())
    place("gpu-pool", "cpu-pool", state=Failed(message="TrainingFailedError: this is the reason", data=there))
    with pytest.raises(TrainingInterruptedError, match="Failed: TrainingFailedError: this is the reason"):
        train_where_placed(plan)


def test_the_error_of_a_training_elsewhere_is_kept_for_the_generation_that_asked_for_it() -> None:
    assert train_potential.persist_result is True
