from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from ase import Atoms

from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import (
    CampaignBusyError,
    CampaignExistsError,
    CampaignNotFoundError,
    ConfigError,
    CorruptFileError,
)
from mlip_train.intake.frame_check import check_frame, frame_rules
from mlip_train.records.refusal import Refusal
from tests.mlip_train.bundles import plain_record

CONFIG = "elements: [Si]\npreset: quick\n"
HOLD = """
import sys, time
from mlip_train.campaign.campaign import Campaign
with Campaign(sys.argv[1]).hold():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign.create(tmp_path / "campaign", CONFIG)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.campaign.campaign._LOCK_PATIENCE", 0.05)


def add_data(campaign: Campaign, generation: int, atoms: Atoms) -> None:
    structure = check_frame(atoms, frame_rules(campaign.config), "batch.extxyz", 0)
    assert isinstance(structure, Structure)
    campaign.store.append([structure], {structure.structure_id: "train"}, generation, {"Si": -1.5}, 5.5)


def publish(campaign: Campaign, generation: int) -> None:
    record = campaign.bundle_record(generation)
    for suffix in (".yaml", ".yace"):
        record.with_suffix(suffix).touch()
    plain_record(generation).save(record)


def hold_once(campaign: Campaign) -> None:
    with campaign.hold():
        pass


def files_below(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def refusal(frame: int, reason: str = "too close") -> Refusal:
    return Refusal(source="batch.extxyz", frame=frame, reason=reason)


# --- making and opening one ---


@pytest.mark.parametrize("exists", [False, True])
def test_a_campaign_is_made_in_a_new_or_empty_directory(tmp_path: Path, exists: bool) -> None:
    root = tmp_path / "some where"
    if exists:
        root.mkdir()
    campaign = Campaign.create(root, CONFIG)
    folders = {"inbox", "dataset", "generations", "potentials", "quarantine"}
    assert {entry.name for entry in root.iterdir()} == {".lock", "campaign.yaml", *folders}
    assert campaign.config_file.read_text() == CONFIG
    assert campaign.config.basis.cutoff == 5.0
    assert campaign.name == "some where"


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "folder/file"])
def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(CampaignNotFoundError, match="not an empty directory"):
        Campaign.create(tmp_path, CONFIG)
    assert files_below(tmp_path) == {name: b"mine"}


def test_a_file_is_not_made_into_a_campaign(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CampaignNotFoundError, match="not an empty directory"):
        Campaign.create(tmp_path / "file", CONFIG)
    assert files_below(tmp_path) == {"file": b"mine"}


def test_an_existing_campaign_is_not_made_again(campaign: Campaign) -> None:
    with pytest.raises(CampaignExistsError, match=r"is a campaign already; edit its campaign\.yaml"):
        Campaign.create(campaign.root, "elements: [Ge]\n")
    assert campaign.config_file.read_text() == CONFIG


@pytest.mark.parametrize("text", ["elements: [Sii]\n", "elements: [\n", "", "elements: [Si]\nelements: [Ge]\n"])
def test_a_wrong_configuration_makes_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"campaign\.yaml"):
        Campaign.create(tmp_path / "campaign", text)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_campaign_yaml_is_not_a_campaign(tmp_path: Path) -> None:
    with pytest.raises(CampaignNotFoundError) as caught:
        Campaign(tmp_path)
    assert f"{tmp_path} is not a campaign (no campaign.yaml)" in str(caught.value)
    assert "mlip-train init" in str(caught.value)


def test_the_command_in_the_message_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(CampaignNotFoundError) as caught:
        Campaign(tmp_path / "my campaign")
    assert shlex.quote(str(tmp_path / "my campaign")) in str(caught.value)


def test_a_campaign_in_the_home_directory_can_be_written_with_a_tilde(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(campaign.root.parent))
    assert Campaign("~/campaign").root == campaign.root


def test_the_configuration_is_read_anew_each_time(campaign: Campaign) -> None:
    campaign.config_file.write_text("elements: [Ge]\n")
    assert campaign.config.elements == ("Ge",)


def test_a_configuration_that_became_wrong_is_reported_with_its_file(campaign: Campaign) -> None:
    campaign.config_file.write_text("elements: [Si]\nbasis: {cutoff: 1}\n")
    with pytest.raises(ConfigError) as caught:
        _ = campaign.config
    assert str(campaign.config_file) in str(caught.value)
    assert "basis.cutoff" in str(caught.value)


def test_bytes_that_are_no_text_are_reported_and_do_not_crash(campaign: Campaign) -> None:
    campaign.config_file.write_bytes(b"elements: [\xff]\n")
    with pytest.raises(ConfigError, match="not a chemical element"):
        _ = campaign.config


# --- holding one ---


@pytest.mark.usefixtures("impatient")
def test_a_campaign_is_held_by_one_process_until_it_is_gone_however_it_went(campaign: Campaign) -> None:
    command = [sys.executable, "-c", HOLD, str(campaign.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(CampaignBusyError) as caught:
                hold_once(campaign)
        finally:
            other.kill()
    assert str(campaign.root) in str(caught.value)
    assert f"process {other.pid} on {socket.gethostname()}" in str(caught.value)

    assert (campaign.root / ".lock.json").exists()
    with campaign.hold():
        assert json.loads((campaign.root / ".lock.json").read_text())["pid"] == os.getpid()


@pytest.mark.usefixtures("impatient")
def test_who_waits_is_told_for_whom_and_holds_the_campaign_afterwards(campaign: Campaign) -> None:
    told = []
    command = [sys.executable, "-c", HOLD, str(campaign.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        def end_the_other(busy: str) -> None:
            told.append(busy)
            other.kill()

        with campaign.hold(end_the_other):
            assert other.wait(30) != 0
            with pytest.raises(CampaignBusyError, match=f"process {os.getpid()} on"):
                hold_once(Campaign(campaign.root))
    assert told == [f"another run is working on {campaign.root} (process {other.pid} on {socket.gethostname()})"]


@pytest.mark.usefixtures("impatient")
def test_one_process_does_not_hold_a_campaign_twice(campaign: Campaign) -> None:
    with campaign.hold(), pytest.raises(CampaignBusyError, match=str(os.getpid())):
        hold_once(Campaign(campaign.root))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("note", [None, b"", b"\xff", b"[]", b"{}", b'{"pid": 1}'])
def test_a_note_that_says_nothing_does_not_hide_that_the_campaign_is_held(
    campaign: Campaign, note: bytes | None
) -> None:
    with campaign.hold():
        holder = campaign.root / ".lock.json"
        holder.unlink() if note is None else holder.write_bytes(note)
        with pytest.raises(CampaignBusyError, match="it has not said who it is"):
            hold_once(Campaign(campaign.root))


def test_a_refused_run_changes_nothing(campaign: Campaign, impatient: None) -> None:
    with campaign.hold():
        leftover = campaign.potentials / ".current.json.1-abcd.tmp"
        leftover.touch()
        before = files_below(campaign.root)
        with pytest.raises(CampaignBusyError):
            hold_once(Campaign(campaign.root))
        assert files_below(campaign.root) == before


def test_a_run_that_failed_lets_go(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    # not only when Python happens to collect it
    monkeypatch.setattr(filelock.FileLock, "__del__", lambda lock: None, raising=False)
    with pytest.raises(ZeroDivisionError), campaign.hold():
        raise ZeroDivisionError
    assert not (campaign.root / ".lock.json").exists()
    hold_once(campaign)


# --- cleaning up after a crash ---


def crash_while_publishing(campaign: Campaign, generation: int) -> None:
    with contextlib.suppress(KeyboardInterrupt), campaign.publishing(generation):
        publish(campaign, generation)
        raise KeyboardInterrupt


def test_a_bundle_that_a_crash_left_without_record_is_taken_back(campaign: Campaign) -> None:
    publish(campaign, 1)
    campaign.current_pointer.write_text('{"generation": 1}')
    crash_while_publishing(campaign, 2)
    campaign.bundle_record(2).unlink()
    with campaign.hold():
        kept = {entry.name for entry in campaign.potentials.iterdir()}
    bundle = {"potential_gen_01.json", "potential_gen_01.yaml", "potential_gen_01.yace"}
    assert kept == {"current.json", *bundle}
    assert json.loads(campaign.current_pointer.read_text())["generation"] == 1


def test_a_bundle_that_a_crash_left_complete_becomes_current(campaign: Campaign) -> None:
    publish(campaign, 1)
    campaign.current_pointer.write_text('{"generation": 1}')
    crash_while_publishing(campaign, 2)
    hold_once(campaign)
    assert json.loads(campaign.current_pointer.read_text())["generation"] == 2
    assert not list(campaign.potentials.glob(".*"))


def test_a_record_that_somebody_removed_takes_no_file_with_it(campaign: Campaign) -> None:
    publish(campaign, 1)
    publish(campaign, 2)
    campaign.bundle_record(1).unlink()
    hold_once(campaign)
    assert campaign.bundle_record(1).with_suffix(".yaml").exists()


def test_a_published_bundle_is_never_overwritten(campaign: Campaign) -> None:
    publish(campaign, 1)
    before = files_below(campaign.potentials)
    with pytest.raises(CorruptFileError, match="not overwritten"), campaign.publishing(1):
        pass
    assert files_below(campaign.potentials) == before


@pytest.mark.parametrize("manifest", [None, '{"shards": []}'])
def test_a_lost_manifest_is_told_before_anything_is_overwritten(
    campaign: Campaign, silicon: list[Atoms], manifest: str | None
) -> None:
    add_data(campaign, 1, silicon[0])
    campaign.check_whole()
    campaign.generation(1).root.mkdir(parents=True)
    path = campaign.root / "dataset" / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest)
    with pytest.raises(CorruptFileError, match="does not list generation 1"):
        campaign.check_whole()


@pytest.mark.parametrize("folder", [".", "dataset", "potentials", "quarantine", "generations/gen_01"])
def test_temporary_files_are_removed(campaign: Campaign, folder: str) -> None:
    leftover = campaign.root / folder / ".train.pckl.gzip.123-0a1b2c3d.tmp"
    leftover.parent.mkdir(exist_ok=True)
    leftover.touch()
    with campaign.hold():
        assert not leftover.exists()


def test_a_missing_pointer_is_made_for_the_newest_bundle(campaign: Campaign) -> None:
    for generation in (1, 2, 10, 100):
        publish(campaign, generation)
    with campaign.hold():
        current = json.loads(campaign.current_pointer.read_text())
    assert current == {"generation": 100, "potential": "potential_gen_100.json"}


def test_a_pointer_that_somebody_set_back_stays(campaign: Campaign) -> None:
    publish(campaign, 1)
    publish(campaign, 2)
    campaign.current_pointer.write_text('{"generation": 1}')
    hold_once(campaign)
    assert json.loads(campaign.current_pointer.read_text())["generation"] == 1


def test_a_pointer_that_is_right_is_not_written_again(campaign: Campaign) -> None:
    publish(campaign, 1)
    hold_once(campaign)
    written = campaign.current_pointer.stat()
    hold_once(campaign)
    now = campaign.current_pointer.stat()
    assert (now.st_ino, now.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_without_a_bundle_there_is_no_pointer(campaign: Campaign) -> None:
    hold_once(campaign)
    assert not campaign.current_pointer.exists()


def test_a_campaign_without_its_empty_folders_can_be_held(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(CONFIG)
    campaign = Campaign(tmp_path)
    hold_once(campaign)
    assert campaign.quarantine([refusal(1)], 1) == 1
    assert campaign.next_generation() == 1


def test_scratch_is_removed_only_where_the_potential_is_published(campaign: Campaign) -> None:
    publish(campaign, 1)
    for generation in (1, 2):
        campaign.generation(generation).scratch.mkdir(parents=True)
    hold_once(campaign)
    assert [campaign.generation(generation).scratch.exists() for generation in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    "name",
    [
        "potential_gen_01.asi",
        "potential_gen_01.asi.nonlinear",
        "potential_gen_01_with_core.yace",
        "potential_gen_best.yace",
        "potential_gen_01.md",
        "notes.txt",
    ],
)
def test_files_that_a_person_put_beside_the_bundles_are_kept(campaign: Campaign, name: str) -> None:
    publish(campaign, 1)
    (campaign.potentials / name).write_text("mine")
    hold_once(campaign)
    assert (campaign.potentials / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["potentials/potential_gen_01_plots/a.png", "generations/gen_old/scratch/a"])
def test_folders_that_a_person_made_do_not_stop_a_run(campaign: Campaign, name: str) -> None:
    mine = campaign.root / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    hold_once(campaign)
    assert mine.read_text() == "mine"


def test_a_copy_of_a_record_does_not_stop_a_run(campaign: Campaign) -> None:
    publish(campaign, 1)
    (campaign.potentials / "potential_gen_01_copy.json").write_text("{}")
    hold_once(campaign)
    assert json.loads(campaign.current_pointer.read_text())["generation"] == 1


# --- quarantine ---


def test_refused_frames_are_recorded(campaign: Campaign) -> None:
    assert campaign.quarantine([refusal(1), refusal(2)], 1) == 2
    lines = (campaign.root / "quarantine" / "gen_01.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [refusal(1).model_dump(), refusal(2).model_dump()]
    assert campaign.count_quarantined() == 2


@pytest.mark.parametrize("generation", [1, 2])
def test_a_refusal_is_recorded_once(campaign: Campaign, generation: int) -> None:
    campaign.quarantine([refusal(1)], 1)
    assert campaign.quarantine([refusal(1), refusal(2), refusal(2)], generation) == 1
    assert campaign.count_quarantined() == 2


def test_a_second_batch_is_recorded_after_the_first(campaign: Campaign) -> None:
    campaign.quarantine([refusal(1)], 1)
    campaign.quarantine([refusal(2)], 1)
    campaign.quarantine([refusal(1, "of another kind")], 12)
    folder = campaign.root / "quarantine"
    assert {file.name: len(file.read_text().splitlines()) for file in folder.iterdir()} == {
        "gen_01.jsonl": 2,
        "gen_12.jsonl": 1,
    }


@pytest.mark.parametrize("reason", ["two\nlines", "line\u2028separator", "ünï ☃"])
def test_a_reason_is_one_line_whatever_it_says(campaign: Campaign, reason: str) -> None:
    campaign.quarantine([refusal(1, reason)], 1)
    assert campaign.quarantine([refusal(1, reason)], 1) == 0
    assert campaign.count_quarantined() == 1


def test_no_refusals_leave_no_file(campaign: Campaign) -> None:
    assert campaign.quarantine([], 1) == 0
    assert list((campaign.root / "quarantine").iterdir()) == []


# --- numbering ---


def test_a_new_campaign_begins_with_generation_1(campaign: Campaign) -> None:
    assert campaign.pending_generation() is None
    assert campaign.next_generation() == 1


def test_data_without_a_potential_are_pending(campaign: Campaign, silicon: list[Atoms]) -> None:
    add_data(campaign, 1, silicon[0])
    assert (campaign.pending_generation(), campaign.next_generation()) == (1, 2)


def test_a_published_generation_is_not_pending(campaign: Campaign, silicon: list[Atoms]) -> None:
    add_data(campaign, 1, silicon[0])
    publish(campaign, 1)
    assert (campaign.pending_generation(), campaign.next_generation()) == (None, 2)


@pytest.mark.parametrize("published", [[], [1]])
def test_only_the_last_generation_can_be_pending(
    campaign: Campaign, silicon: list[Atoms], published: list[int]
) -> None:
    add_data(campaign, 1, silicon[0])
    add_data(campaign, 2, silicon[1])
    for generation in published:
        publish(campaign, generation)
    assert (campaign.pending_generation(), campaign.next_generation()) == (2, 3)


def test_names_carry_the_number_of_the_generation(campaign: Campaign) -> None:
    assert campaign.bundle_record(7) == campaign.root / "potentials" / "potential_gen_07.json"
    assert campaign.generation(123).root == campaign.root / "generations" / "gen_123"
