from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import ObjectNotFound, PrefectException

from tasks.artifacts import ProgressReport, never_in_the_way

MISSED = [
    httpx.ConnectError("no connection"),
    httpx.ReadTimeout("slow"),
    PrefectException(),
    ObjectNotFound(KeyError()),
]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    logger = SimpleNamespace(warning=lambda message, *values: told.append(message % values))
    monkeypatch.setattr("tasks.artifacts.get_run_logger", lambda: logger)
    return told


@pytest.mark.parametrize("error", MISSED, ids=lambda error: type(error).__name__)
def test_what_prefect_does_not_take_is_told_and_stops_nothing(error: Exception, warned: list[str]) -> None:
    with never_in_the_way():
        raise error
    assert warned == [f"Prefect did not take a report ({type(error).__name__}); the run goes on"]


def test_a_mistake_of_our_own_is_not_hidden(warned: list[str]) -> None:
    with pytest.raises(KeyError), never_in_the_way():
        raise KeyError("campaign")
    assert warned == []


def test_progress_is_told_again_once_prefect_takes_it(monkeypatch: pytest.MonkeyPatch, warned: list[str]) -> None:
    known, taken, answers = uuid4(), [], iter([False, True, False, True])

    def take(percent: float) -> None:
        if not next(answers):
            raise httpx.ConnectError("no connection")
        taken.append(percent)

    def create(artifact: ArtifactCreate) -> SimpleNamespace:
        take(float(str(artifact.data)))
        return SimpleNamespace(id=known)

    def update(artifact: UUID, told: ArtifactUpdate) -> None:
        assert artifact == known
        take(float(str(told.data)))

    client = SimpleNamespace(create_artifact=create, update_artifact=update)
    monkeypatch.setattr("tasks.artifacts.get_client", lambda **_: contextlib.nullcontext(client))
    report = ProgressReport(SimpleNamespace(campaign=Path("silicon")))  # type: ignore[arg-type]
    for percent in (10.0, 20.0, 30.0, 40.0):
        report.update(percent, "")
    assert taken == [20.0, 40.0]
    assert len(warned) == 2
