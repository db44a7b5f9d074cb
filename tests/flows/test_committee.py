"""Committees in a flow: members are fitted where the generation is, and none of them costs the generation."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed, Running, Scheduled

import flows.train_potential as placing
from flows.train_committee import train_committee
from flows.train_generation import train_generation
from flows.train_potential import train_where_placed
from mlip_train import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import TrainingFailedError
from mlip_train.fit import training
from mlip_train.fit.closing import close_fit
from mlip_train.fit.committee import members_of
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.supervision import Launch, Listener, run_engine
from mlip_train.records.committee import CommitteeRecord
from tests.mlip_train.planning import finished, planned

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


@flow
def fit_with_committee(plan: FitPlan) -> CommitteeRecord | None:
    """The part of a generation that this is about."""
    train_where_placed(plan)
    return train_committee(plan, close_fit(plan))


@pytest.fixture
def plan(make_campaign: Make, write_batch: WriteBatch) -> FitPlan:
    campaign = make_campaign(committee={"members": 3}, fit={"max_epochs": 2}, test={"fraction": 0.3})
    accumulate(campaign, [write_batch(0, 8)])
    return planned(campaign, 1)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Notes which members the engine trains, and lets some of them fail."""

    def set_up(*failing: int) -> list[int]:
        asked: list[int] = []

        def run(plan: FitPlan, listener: Listener, launch: Launch) -> int:
            asked.append(plan.member)
            if plan.member in failing:
                raise TrainingFailedError("this is the reason")
            return run_engine(plan, listener, launch)

        monkeypatch.setattr(training, "run_engine", run)
        return asked

    return set_up


@pytest.mark.usefixtures("prefect_server")
def test_a_member_that_fails_costs_neither_the_others_nor_the_generation(
    plan: FitPlan, trained: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    asked = trained(2)
    with caplog.at_level(logging.INFO):
        formed = fit_with_committee(plan)
    assert asked == [0, 1, 2, 3]
    assert formed is not None
    assert formed.members == (1, 3)
    assert formed.force is not None
    for told in (
        "Generation 1, member 2 was not fitted; the committee does without it: this is the reason",
        "Committee of generation 1: 2 members; spread on",
        "Trained generation 1, member 3 in",
    ):
        assert told in caplog.text

    asked = trained()
    again = fit_with_committee(plan)
    assert asked == [2]
    assert again is not None
    assert again.members == (1, 2, 3)


@pytest.mark.usefixtures("prefect_server")
def test_a_single_member_is_no_committee_and_no_failure(
    plan: FitPlan, trained: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    trained(1, 3)
    with caplog.at_level(logging.WARNING):
        assert fit_with_committee(plan) is None
    assert "Generation 1 has no committee: only 1 of 3 members were fitted; it takes two to differ" in caplog.text


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("epochs", [0, 2])
def test_a_generation_is_published_with_its_committee(
    make_campaign: Make, write_batch: WriteBatch, epochs: int
) -> None:
    campaign = make_campaign(committee={"members": 2}, fit={"max_epochs": epochs}, test={"fraction": 0.3})
    potential = train_generation(campaign.root, [write_batch(0, 8)]).potential
    assert potential is not None
    assert [file.name for file in potential.members] == [
        "potential_gen_01_committee_01.yace", "potential_gen_01_committee_02.yace",
    ]  # fmt: skip
    atoms = next(campaign.store.iterate("test")).structure.to_atoms()
    atoms.calc = potential.committee_calculator()
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert atoms.calc.results["forces_std"].shape == (len(atoms),)
    assert not list(campaign.generation(1).root.rglob("scratch"))


def test_members_elsewhere_are_all_asked_for_before_the_first_is_waited_for(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    waiting: dict[UUID, FitPlan] = {}
    elsewhere = {"placement": {"deployment": "train-potential/gpu"}}
    engine = plan.config.engine.model_validate({**plan.config.engine.model_dump(), **elsewhere})
    plan = plan.model_copy(update={"config": plan.config.model_copy(update={"engine": engine})})

    def ask(name: str, parameters: dict[str, Any], timeout: float) -> FlowRun:
        told.append(f"asked for {parameters['member']}")
        assert (name, timeout) == ("train-potential/gpu", 0)
        run = FlowRun(id=uuid4(), flow_id=uuid4(), state=Scheduled())
        waiting[run.id] = members_of(plan)[parameters["member"] - 1]
        return run

    def read(run_id: UUID) -> FlowRun:
        member = waiting[run_id]
        told.append(f"looked at {member.member}")
        if told.count(told[-1]) < 2:
            return FlowRun(id=run_id, flow_id=uuid4(), state=Running())
        if member.member == 2:
            return FlowRun(id=run_id, flow_id=uuid4(), state=Failed(data=TrainingFailedError("there")))
        if member.member == 3:
            raise httpx.ConnectError("no server")
        member.run.root.mkdir(parents=True)
        finished(member)
        return FlowRun(id=run_id, flow_id=uuid4(), state=Completed())

    @contextlib.contextmanager
    def client(**_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(read_flow_run=read)

    formed: list[FitPlan] = []
    logger = SimpleNamespace(info=lambda *_: None, warning=lambda text, *given: told.append(text % given))
    monkeypatch.setattr(placing, "get_client", client)
    monkeypatch.setattr(placing, "_occupies_a_slot_of", lambda _: False)
    monkeypatch.setattr(placing, "run_deployment", ask)
    monkeypatch.setattr(placing, "_LOOK_EVERY", 0.0)
    for module in ("flows.train_potential", "flows.train_committee"):
        monkeypatch.setattr(f"{module}.get_run_logger", lambda: logger)
    monkeypatch.setattr("flows.train_committee.prepare", lambda member: member)
    monkeypatch.setattr("flows.train_committee.form", lambda plan, _, members: formed.extend(members))
    train_committee(plan, SimpleNamespace())  # type: ignore[arg-type]

    assert told[:3] == ["asked for 1", "asked for 2", "asked for 3"]
    assert told[3:5] == ["looked at 1", "looked at 1"]
    assert "Generation 1, member 2 was not fitted; the committee does without it: there" in told
    assert any("3 was not trained by train-potential/gpu (ConnectError: no server)" in line for line in told)
    assert [member.member for member in formed] == [1]
