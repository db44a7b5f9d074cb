from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect_dask import DaskTaskRunner

from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.ace.bbasis import coefficients_of
from mlip_train.ace.projections import BBasisFile, Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base import parallel
from mlip_train.base.parallel import CHUNK, in_chunks, over_chunks
from tasks.steps import where_the_flow_runs
from tests.mlip_train.alloys import aluminium, checked
from tests.mlip_train.bbasis import config_of, write_random

pytestmark = [pytest.mark.usefixtures("prefect_server")]

MakeCampaign = Callable[..., Campaign]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> DaskTaskRunner:
    """Two local worker processes, which get all chunks but the first."""
    monkeypatch.setattr(parallel, "_WORTH_SHARING", -1.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return DaskTaskRunner(
        cluster_kwargs={"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    )


def test_projections_are_computed_by_the_workers_of_the_flow(tmp_path: Path, cluster: DaskTaskRunner) -> None:
    bbasis = write_random(tmp_path / "al.yaml", config_of(["Al"]))
    structures = checked(aluminium(6))

    def where(projector: Projector, chunk: list[Structure]) -> int:
        return os.getpid()

    @task
    def project() -> list[int]:
        with where_the_flow_runs():
            return list(over_chunks(where, BBasisFile.of(bbasis), in_chunks(structures, 2)))

    @flow(task_runner=cluster)
    def measure() -> tuple[list[int], set[int]]:
        context = FlowRunContext.get()
        assert context is not None
        workers = context.task_runner.client.run(os.getpid)
        return project(), set(workers.values())

    (first, *others), workers = measure()
    assert first == os.getpid()
    assert len(others) == 2
    assert set(others) <= workers


def test_a_generation_on_a_cluster_is_that_of_one_machine(
    make_campaign: MakeCampaign,
    write_batch: Callable[[int, int], Path],
    cluster: DaskTaskRunner,
    caplog: pytest.LogCaptureFixture,
) -> None:
    batch = write_batch(0, CHUNK + 6)
    here, there = (
        make_campaign(name, fit={"max_epochs": 0}, active_set={"method": "maxvol"}) for name in ("here", "there")
    )
    local = train_generation(here.root, [batch])
    caplog.clear()
    shared = train_generation.with_options(task_runner=cluster)(there.root, [batch])
    told = [record.message for record in caplog.records if "Computing on the Dask cluster" in record.message]
    assert len(told) == 4  # the selection, the linear solution, the grades and the errors
    assert local.potential is not None
    assert shared.potential is not None
    expected, actual = (coefficients_of(potential.yaml) for potential in (local.potential, shared.potential))
    np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-12)
