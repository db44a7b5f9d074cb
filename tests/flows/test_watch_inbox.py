from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.states import State
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError as FormError
from prefect.utilities.schema_tools import validate

from flows.train_generation import GenerationResult
from flows.watch_inbox import watch_inbox
from mlip_train import Campaign, Potential
from mlip_train.errors import RejectedPotentialError, TrainingFailedError
from mlip_train.fit.pair_curves import PairCurve
from mlip_train.intake.inbox import Inbox
from tests.conftest import REPOSITORY
from tests.mlip_train.planning import edit

pytestmark = [pytest.mark.usefixtures("prefect_server")]

MakeCampaign = Callable[..., Campaign]
WriteFrames = Callable[[Path, int, int], Path]


def files_in(inbox: Path) -> list[str]:
    found = (path.relative_to(inbox) for path in inbox.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if str(path) != ".lock")


def watch(campaign: Campaign, min_new_structures: int = 1) -> State[GenerationResult]:
    state: State[GenerationResult] = watch_inbox(campaign.root, min_new_structures, 0, return_state=True)
    return state


def test_the_inbox_becomes_a_generation_once_there_is_enough_in_it(
    make_campaign: MakeCampaign, write_frames: WriteFrames, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = make_campaign("my silicon")
    write_frames(campaign.inbox / "a.extxyz", 0, 4)
    (campaign.inbox / "noise.extxyz").write_bytes(b"\xff")
    (campaign.inbox / "link.extxyz").symlink_to("a.extxyz")

    waiting = watch(campaign, 6)
    assert waiting.name == "Skipped"
    assert waiting.is_completed()
    assert "waiting for at least 6 new structures: 4 new structures, 0 known already" in str(waiting.message)
    assert waiting.result().status == "skipped"
    assert waiting.result().potential is None
    assert waiting.result().batch.n_new == 4
    assert (campaign.inbox / "a.extxyz").exists()
    assert not len(campaign.store)
    told = "\n".join(record.message for record in caplog.records)
    assert "inbox/refused:\n  noise.extxyz: nothing in it can be read" in told
    assert "Left in the inbox:\n  link.extxyz: " in told

    (campaign.inbox / "run").mkdir()
    write_frames(campaign.inbox / "run" / "b.extxyz", 4, 6)
    done = watch(campaign, 6)
    assert done.name == "Completed"
    assert str(campaign.potentials / "potential_gen_01.yace") in str(done.message)
    assert done.result().status == "published"
    assert done.result().potential == Potential.current(campaign)
    assert files_in(campaign.inbox) == [
        "done/gen_01/a.extxyz",
        "done/gen_01/run/b.extxyz",
        "refused/noise.extxyz",
        "refused/noise.extxyz.txt",
    ]
    run = done.state_details.flow_run_id
    assert run is not None
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run).name == "my silicon inbox"
        below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
        assert [child.name for child in client.read_flow_runs(flow_run_filter=below)] == [
            "my silicon generation 1"
        ]

    write_frames(campaign.inbox / "again.extxyz", 0, 6)
    again = watch(campaign)
    assert again.name == "Skipped"
    assert again.result().potential == done.result().potential
    assert (campaign.inbox / "again.extxyz").exists()


def test_a_run_beside_another_is_skipped(make_campaign: MakeCampaign, write_frames: WriteFrames) -> None:
    campaign = make_campaign()
    write_frames(campaign.inbox / "a.extxyz", 0, 4)
    with Inbox(campaign).hold():
        state = watch(campaign)
    assert state.name == "Skipped"
    assert "another run is taking files" in str(state.message)
    assert not len(campaign.store)
    assert watch(campaign).result().status == "published"
    assert files_in(campaign.inbox) == ["done/gen_01/a.extxyz"]


def test_a_run_that_could_claim_nothing_is_skipped(
    make_campaign: MakeCampaign, write_frames: WriteFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    write_frames(campaign.inbox / "a.extxyz", 0, 4)

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("mlip_train.intake.inbox._rename", refuse)
    state = watch(campaign)
    assert state.name == "Skipped"
    assert "nothing could be claimed: 4 new structures" in str(state.message)
    assert files_in(campaign.inbox) == ["a.extxyz"]


def test_files_of_a_failed_generation_stay_claimed_and_the_next_run_resumes_it(
    make_campaign: MakeCampaign, write_frames: WriteFrames
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "nan_loss"})
    write_frames(campaign.inbox / "a.extxyz", 0, 4)
    with pytest.raises(TrainingFailedError, match="not a finite number"):
        watch(campaign).result()
    assert files_in(campaign.inbox) == [".claimed/gen_01/a.extxyz"]

    edit(campaign, engine={"environment": {}})
    resumed = watch(campaign, 9).result()
    assert resumed.status == "published"
    assert resumed.batch.n_new == 0
    assert files_in(campaign.inbox) == ["done/gen_01/a.extxyz"]


def test_a_rejected_generation_is_a_rejected_run(
    make_campaign: MakeCampaign, write_frames: WriteFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(reference={"kind": "zbl"})
    write_frames(campaign.inbox / "a.extxyz", 0, 6)
    monkeypatch.setattr(PairCurve, "hole", lambda curve: "Si and Si fall into each other")
    state = watch(campaign)
    assert state.name == "Rejected"
    assert "rejected: dimer: Si and Si fall" in str(state.message)
    with pytest.raises(RejectedPotentialError):
        state.result()
    assert files_in(campaign.inbox) == ["done/gen_01/a.extxyz"]  # the dataset keeps it


def test_the_form_describes_every_parameter_and_refuses_senseless_values() -> None:
    schema = parameter_schema(watch_inbox).model_dump()
    assert all(described["description"] for described in schema["properties"].values())
    assert schema["properties"]["min_new_structures"]["default"] == 1
    assert schema["properties"]["settle_seconds"]["default"] == 30.0
    for senseless in ({"min_new_structures": 0}, {"settle_seconds": -1}):
        with pytest.raises(FormError):
            validate({"campaign": "si", **senseless}, schema, raise_on_error=True)


# The process kills itself when it is about to rename for the n-th time in the inbox.
KILLED = """
import os, signal, sys
from flows.watch_inbox import watch_inbox
left = int(sys.argv[2])
def see(event, args):
    global left
    if event == "os.rename" and "/inbox/" in str(args[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(see)
watch_inbox(sys.argv[1], 1, 0)
"""


@pytest.mark.usefixtures("prefect_processes")
def test_killed_between_renames_nothing_is_lost_or_used_twice(
    make_campaign: MakeCampaign, write_frames: WriteFrames, prefect_server: str
) -> None:
    campaign = make_campaign()
    for first, name in enumerate(("a", "b")):
        write_frames(campaign.inbox / f"{name}.extxyz", 3 * first, 3 * first + 3)

    def run(renames: int) -> int:
        command = [sys.executable, "-c", KILLED, str(campaign.root), str(renames)]
        environment = {**os.environ, "PREFECT_API_URL": f"{prefect_server}/api"}
        return subprocess.run(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL).returncode

    seen = []
    for _ in range(3):  # between the claims, after the training, and between the moves to done
        assert run(2) == -signal.SIGKILL
        seen.append(files_in(campaign.inbox))
    assert seen == [
        [".claimed/gen_01/a.extxyz", "b.extxyz"],
        [".claimed/gen_01/a.extxyz", ".claimed/gen_01/b.extxyz"],
        [".claimed/gen_01/b.extxyz", "done/gen_01/a.extxyz"],
    ]
    assert run(2) == 0
    assert files_in(campaign.inbox) == ["done/gen_01/a.extxyz", "done/gen_01/b.extxyz"]
    assert campaign.published_generations() == campaign.store.generations == [1]
    assert len(campaign.store) == 6
