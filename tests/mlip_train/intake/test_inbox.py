from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io
import filelock
import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import CampaignBusyError, ConfigError, InputError
from mlip_train.intake.accumulation import Accumulation, accumulate
from mlip_train.intake.arrivals import Arrivals, examine
from mlip_train.intake.inbox import Inbox
from mlip_train.records.refusal import Refusal
from tests.conftest import REPOSITORY
from tests.mlip_train.bundles import plain_record
from tests.mlip_train.frames import cluster, crystal, vasprun

SETTLE = 30.0


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(Campaign.create(tmp_path / "si [1]", "elements: [Si]\n"))


@pytest.fixture(autouse=True)
def _minutes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests drop is complete when they look at it."""
    clock = Inbox._now
    monkeypatch.setattr(Inbox, "_now", lambda inbox: clock(inbox) + 100)


def drop(path: Path, first: int, last: int) -> Path:
    """Write silicon crystals, all different, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, [crystal(a=5.3 + 0.01 * n) for n in range(first, last)])
    return path


def publish(campaign: Campaign, generation: int) -> None:
    plain_record(generation).save(campaign.bundle_record(generation))


def watch(inbox: Inbox, min_new_structures: int = 1) -> Arrivals:
    """Do what the flow does, with a training that always succeeds."""
    with inbox.hold():
        arrivals = examine(inbox, SETTLE)
        if arrivals.is_worth_a_generation(min_new_structures):
            inbox.claim(arrivals.complete, SETTLE)
            if (generation := learn(inbox).generation) is not None:
                publish(inbox.campaign, generation)
            inbox.finish()
    return arrivals


def learn(inbox: Inbox) -> Accumulation:
    return accumulate(inbox.campaign, [inbox.pattern])


def files_in(inbox: Inbox) -> list[str]:
    """All files but the lock."""
    found = (path.relative_to(inbox.root) for path in inbox.root.rglob("*") if not path.is_dir())
    return sorted(str(path) for path in found if str(path) != ".lock")


def contents_of(inbox: Inbox) -> dict[str, bytes]:
    return {name: (inbox.root / name).read_bytes() for name in files_in(inbox)}


def test_what_was_dropped_is_learned_from_and_put_away(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 4)
    drop(inbox.root / "run" / "b.extxyz", 4, 8)
    assert watch(inbox).brings.n_new == 8
    assert files_in(inbox) == ["done/gen_01/a.extxyz", "done/gen_01/run/b.extxyz"]
    drop(inbox.root / "c.extxyz", 2, 10)
    assert watch(inbox).brings.n_new == 2
    assert files_in(inbox)[-1] == "done/gen_02/c.extxyz"
    assert list(inbox.claims.iterdir()) == []
    assert watch(inbox).brings.n_new == 0


def test_a_folder_is_one_entry_of_which_vasprun_is_read(inbox: Inbox) -> None:
    run = inbox.root / "run42"
    run.mkdir()
    (run / "vasprun.xml").write_text(vasprun([crystal(), crystal(a=5.5)]))
    (run / "INCAR~").write_text("backup")
    assert watch(inbox).brings.n_new == 2
    assert files_in(inbox) == ["done/gen_01/run42/INCAR~", "done/gen_01/run42/vasprun.xml"]


def test_too_few_new_structures_stay_untouched(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 5)
    watch(inbox)
    drop(inbox.root / "b.extxyz", 0, 8)  # five of the eight are known
    drop(inbox.root / "c.extxyz", 7, 9)  # one of the two is in b, too
    before = files_in(inbox)
    assert watch(inbox, 5).brings.n_new == 4
    assert files_in(inbox) == before
    assert inbox.campaign.store.generations == [1]
    assert not list((inbox.campaign.root / "quarantine").iterdir())
    watch(inbox, 4)
    assert files_in(inbox) == ["done/gen_01/a.extxyz", "done/gen_02/b.extxyz", "done/gen_02/c.extxyz"]


TEMPORARY = [".a.extxyz", "a.extxyz.tmp", "a.extxyz.PART", "a.partial", "a.swp", "a.extxyz~", "a.extxyz.filepart"]


@pytest.mark.parametrize("name", [*TEMPORARY, "run/a.extxyz.part"])
def test_temporary_names_are_left(inbox: Inbox, name: str) -> None:
    drop(inbox.root / "good.extxyz", 0, 2)
    drop(inbox.root / "run" / "other.extxyz", 5, 6)
    (inbox.root / name).write_bytes((inbox.root / "good.extxyz").read_bytes())
    arrivals = watch(inbox)
    assert name in files_in(inbox)
    entry = Path(name).parts[0]
    assert ("has a temporary name; rename it" in arrivals.left.get(entry, "")) != name.startswith(".")


@pytest.mark.parametrize("what", ["a.extxyz", "run"])
def test_what_changed_a_moment_ago_is_left(inbox: Inbox, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    drop(inbox.root / "run" / "deep" / "a.extxyz", 2, 4)
    past = 1e9
    for path in inbox.root.rglob("*"):
        os.utime(path, (past, past))  # as cp -p leaves them, while the rest is still to come
    clock = Inbox._now
    monkeypatch.setattr(Inbox, "_now", lambda inbox: clock(inbox) - 100)  # none of the minutes has passed
    arrivals = watch(inbox)
    assert arrivals.left[what] == "it changed less than 30 s ago"
    assert files_in(inbox) == ["a.extxyz", "run/deep/a.extxyz"]


def test_a_file_that_grows_keeps_its_folder_waiting(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = drop(inbox.root / "run" / "a.extxyz", 0, 2)
    time.sleep(0.1)
    with growing.open("a") as stream:
        stream.write("half a frame")
    assert growing.stat().st_ctime > growing.parent.stat().st_ctime + 0.05
    monkeypatch.setattr(Inbox, "_now", lambda inbox: growing.stat().st_ctime)
    with inbox.hold():
        assert inbox.look(0.05)[0] == []


def test_age_is_counted_by_the_clock_that_stamps_the_files(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    monkeypatch.undo()
    monkeypatch.setattr("time.time", lambda: 9e9)
    with inbox.hold():
        assert inbox.look(SETTLE)[0] == []


def test_a_clock_that_was_set_back_does_not_keep_files_waiting(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    monkeypatch.setattr(Inbox, "_now", lambda inbox: 1e9)
    assert watch(inbox).left == {}


@pytest.mark.parametrize("name", ["a.extxyz", "run/a.extxyz"])
def test_what_is_still_empty_is_left(inbox: Inbox, name: str) -> None:
    (inbox.root / name).parent.mkdir(exist_ok=True)
    (inbox.root / name).touch()
    assert list(watch(inbox).left.values()) == ["it is still empty"]
    assert files_in(inbox) == [name]


def make_link(path: Path) -> None:
    path.symlink_to(drop(path.parents[2] / "elsewhere.extxyz", 20, 22))


def make_socket(path: Path) -> None:
    short = Path(f"/tmp/mlip-{os.getpid()}")  # noqa: S108 - the name of a socket may not be long
    short.symlink_to(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(short / path.name))
    short.unlink()


@pytest.mark.parametrize("where", ["", "run"])
@pytest.mark.parametrize(
    ("make", "told"),
    [(make_link, "symbolic link; put the file"), (os.mkfifo, "neither a file"), (make_socket, "neither a file")],
)
def test_links_and_special_files_are_left_and_told(
    inbox: Inbox, make: Callable[[Path], None], told: str, where: str
) -> None:
    drop(inbox.root / "run" / "b.extxyz", 0, 2)
    drop(inbox.root / "good.extxyz", 2, 4)
    strange = inbox.root / where / "strange"
    make(strange)
    arrivals = watch(inbox)
    assert told in arrivals.left[where or "strange"]
    assert str(strange) in arrivals.left[where or "strange"]
    assert os.path.lexists(strange)
    assert (inbox.done / "gen_01" / "good.extxyz").is_file()


def test_what_changes_between_the_look_and_the_claim_is_left(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = drop(inbox.root / "a.extxyz", 0, 2), drop(inbox.root / "b.extxyz", 2, 4)
    with inbox.hold():
        complete, _ = inbox.look(SETTLE)
        assert complete == [one, other]
        other.unlink()
        monkeypatch.setattr(Inbox, "_now", lambda inbox: one.stat().st_ctime + 1)
        left = inbox.claim(complete, SETTLE)
    assert left["a.extxyz"] == "it changed less than 30 s ago"
    assert "No such file" in left["b.extxyz"]
    assert inbox.claimed() == []


def test_what_cannot_be_read_is_refused_with_a_note_and_stops_nothing(inbox: Inbox) -> None:
    drop(inbox.root / "good.extxyz", 0, 2)
    (inbox.root / "noise.extxyz").write_bytes(b"\x00\xff" * 99)
    (inbox.root / "notes").mkdir()
    (inbox.root / "notes" / "readme.md").write_text("no result")
    arrivals = watch(inbox)
    assert set(arrivals.refused) == {"noise.extxyz", "notes"}
    assert arrivals.complete == (inbox.root / "good.extxyz",)
    assert files_in(inbox) == [
        "done/gen_01/good.extxyz",
        "refused/noise.extxyz",
        "refused/noise.extxyz.txt",
        "refused/notes.txt",
        "refused/notes/readme.md",
    ]
    note = (inbox.refused / "noise.extxyz.txt").read_text()
    assert note.startswith("noise.extxyz was refused: nothing in it can be read:")
    assert "ASE cannot read it" in note
    assert "put it into the inbox again" in note


def test_frames_that_the_check_refuses_are_no_reason_to_refuse_the_file(inbox: Inbox) -> None:
    ase.io.write(inbox.root / "ge.extxyz", crystal("Ge2"))
    assert watch(inbox).brings.n_refused == 1
    assert files_in(inbox) == ["ge.extxyz"]
    drop(inbox.root / "si.extxyz", 0, 2)
    watch(inbox)
    assert files_in(inbox) == ["done/gen_01/ge.extxyz", "done/gen_01/si.extxyz"]
    (line,) = (inbox.campaign.root / "quarantine" / "gen_01.jsonl").read_text().splitlines()
    assert Refusal.model_validate_json(line).source.endswith("/gen_01/ge.extxyz")


def test_isolated_atoms_wait_for_the_first_structures(tmp_path: Path) -> None:
    text = "elements: [Si]\nreference_energies: isolated_atoms\n"
    inbox = Inbox(Campaign.create(tmp_path / "campaign", text))
    ase.io.write(inbox.root / "atom.extxyz", cluster("Si", energy=-0.8))
    watch(inbox)
    assert files_in(inbox) == ["atom.extxyz"]
    drop(inbox.root / "a.extxyz", 0, 2)
    watch(inbox)
    assert inbox.campaign.store.manifest.reference_energies == {"Si": -0.8}
    assert files_in(inbox) == ["done/gen_01/a.extxyz", "done/gen_01/atom.extxyz"]


def test_an_inbox_on_another_disk(inbox: Inbox, tmp_path: Path) -> None:
    inbox.root.rename(tmp_path / "disk")
    inbox.root.symlink_to(tmp_path / "disk")
    drop(inbox.root / "a.extxyz", 0, 2)
    watch(inbox)
    assert files_in(inbox) == ["done/gen_01/a.extxyz"]


def test_the_campaigns_own_mistakes_refuse_no_file(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    inbox.campaign.config_file.write_text("elements: [Si]\nbasis: {cutoff: far}\n")
    with pytest.raises(ConfigError):
        watch(inbox)
    assert files_in(inbox) == ["a.extxyz"]


def test_a_file_that_is_being_rewritten_is_not_refused(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = inbox.root / "noise.extxyz"
    noise.write_bytes(b"\x00\xff" * 99)
    looks = iter([100.0, 0.0])
    monkeypatch.setattr(Inbox, "_now", lambda inbox: noise.stat().st_ctime + next(looks))
    arrivals = watch(inbox)
    assert (arrivals.refused, arrivals.left) == ({}, {"noise.extxyz": "it changed while it was read"})
    assert noise.exists()


def test_a_claimed_entry_that_can_no_longer_be_read_does_not_stop_the_next_run(inbox: Inbox) -> None:
    drop(inbox.root / "run" / "a.extxyz", 0, 2)
    with inbox.hold():
        inbox.claim(inbox.look(SETTLE)[0], SETTLE)
    (inbox.claimed()[0] / "a.extxyz").unlink()
    watch(inbox)
    drop(inbox.root / "b.extxyz", 2, 4)
    watch(inbox)
    assert files_in(inbox) == ["done/gen_01/b.extxyz", "refused/run.txt"]


@pytest.mark.parametrize("name", ["a.extxyz", "OUTCAR", "a.extxyz.gz", "run"])
def test_nothing_is_overwritten(inbox: Inbox, name: str) -> None:
    second = {"a.extxyz": "a_2.extxyz", "OUTCAR": "OUTCAR_2", "a.extxyz.gz": "a_2.extxyz.gz", "run": "run_2"}[name]
    for folder in (inbox.root, inbox.done / "gen_01", inbox.claims / "gen_01"):
        entry = folder / name
        (entry / "kept" if name == "run" else entry).parent.mkdir(parents=True, exist_ok=True)
        (entry / "kept" if name == "run" else entry).write_text(str(folder))
    with inbox.hold():
        inbox.claim([inbox.root / name], SETTLE)
        assert [entry.name for entry in inbox.claimed()] == [name, second]
        inbox.finish()
        assert sorted(entry.name for entry in (inbox.done / "known").iterdir()) == [name, second]
    kept = [p for p in inbox.root.rglob("*") if p.is_file() and p.name != ".lock"]
    assert {p.read_text() for p in kept} == {
        str(inbox.root),
        str(inbox.done / "gen_01"),
        str(inbox.claims / "gen_01"),
    }


def test_a_note_overwrites_no_file_that_was_refused(inbox: Inbox) -> None:
    for content in (b"\xff\x00", b"\xff\x01"):
        (inbox.root / "a").write_bytes(content)
        (inbox.root / "a.txt").write_bytes(content + content)
        watch(inbox)
    contents = [p.read_bytes() for p in inbox.refused.iterdir()]
    assert len(contents) == 8
    assert {b"\xff\x00", b"\xff\x01", b"\xff\x00\xff\x00", b"\xff\x01\xff\x01"} < set(contents)


def test_names_that_are_no_text_are_taken_like_others(inbox: Inbox) -> None:
    drop(inbox.root / os.fsdecode(b"\xfcber.extxyz"), 0, 2)
    (inbox.root / os.fsdecode(b"\xff.extxyz")).write_bytes(b"noise")
    (inbox.root / os.fsdecode(b"\xff") / "a").mkdir(parents=True)
    (inbox.root / os.fsdecode(b"\xff") / "a" / "INCAR").write_text("no result")
    (inbox.root / os.fsdecode(b"\xfe")).symlink_to("elsewhere")
    arrivals = watch(inbox)
    assert set(arrivals.refused) == {r"\udcff.extxyz", r"\udcff"}
    assert set(arrivals.left) == {r"\udcfe"}
    assert arrivals.model_dump_json(include={"refused", "left"})  # logs are sent as JSON
    assert (inbox.done / "gen_01" / os.fsdecode(b"\xfcber.extxyz")).is_file()


def test_an_entry_that_cannot_be_moved_does_not_stop_the_others(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("fixed.extxyz", "good.extxyz")):
        drop(inbox.root / name, number, number + 1)
    (inbox.root / "fixed.noise").write_bytes(b"\xff")
    rename = Path.rename

    def refuse_fixed(path: Path, target: Path) -> Path:
        if path.name.startswith("fixed"):
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_fixed)
    arrivals = watch(inbox)
    assert "it cannot be moved ([Errno 13] Permission denied" in arrivals.left["fixed.noise"]
    assert {"fixed.extxyz", "fixed.noise", "done/gen_01/good.extxyz"} <= set(files_in(inbox))


def test_a_move_survives_a_power_cut(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("mlip_train.intake.inbox.fsync_directory", synced.append)
    entry = drop(inbox.root / "a.extxyz", 0, 2)
    with inbox.hold():
        inbox.claim([entry], SETTLE)
    assert synced == [inbox.claims / "gen_01", inbox.root]


def test_files_of_one_name_are_told_apart(inbox: Inbox) -> None:
    for generation in (1, 2, 3):
        ase.io.write(inbox.root / "a.extxyz", [crystal(a=5.3 + 0.01 * generation), crystal("Ge2")])
        watch(inbox)
        assert (inbox.done / f"gen_{generation:02d}" / "a.extxyz").is_file()
    assert len(inbox.campaign.store.sources()) == 3
    assert inbox.campaign.count_quarantined() == 3


def test_the_second_watcher_is_told_to_wait(inbox: Inbox) -> None:
    code = (
        "import sys; from mlip_train import Campaign; from mlip_train.intake.inbox import Inbox\n"
        "with Inbox(Campaign(sys.argv[1])).hold(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(inbox.campaign.root)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CampaignBusyError, match="wait for it to end"), inbox.hold():
            pass
        other.kill()
    with inbox.hold():  # the lock of a killed process is free
        pass


def test_a_watcher_that_failed_lets_go(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # not only when Python happens to collect it
    monkeypatch.setattr(filelock.FileLock, "__del__", lambda lock: None, raising=False)
    with pytest.raises(ZeroDivisionError), inbox.hold():
        raise ZeroDivisionError
    with inbox.hold():
        pass


@pytest.mark.parametrize("name", ["done", "refused"])
def test_a_file_with_the_name_of_an_own_folder_is_told(inbox: Inbox, name: str) -> None:
    (inbox.root / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} must be a folder .*another name"), inbox.hold():
        pass
    assert (inbox.root / name).read_text() == "mine"


def test_a_generation_that_was_never_published_is_part_of_the_next(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    with inbox.hold():
        inbox.claim(examine(inbox, SETTLE).complete, SETTLE)
        learn(inbox)  # and the engine fails
        inbox.finish()
    with inbox.hold():
        assert [entry.name for entry in inbox.claimed()] == ["a.extxyz"]
    drop(inbox.root / "b.extxyz", 2, 4)
    assert watch(inbox, min_new_structures=9).resumed != ()
    assert files_in(inbox) == ["done/gen_02/a.extxyz", "done/gen_02/b.extxyz"]


def test_what_a_killed_run_had_learned_from_is_put_away_without_another_generation(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    with inbox.hold():
        inbox.claim(examine(inbox, SETTLE).complete, SETTLE)
        learn(inbox)
        publish(inbox.campaign, 1)
    drop(inbox.root / "b.extxyz", 2, 4)
    assert watch(inbox, min_new_structures=9).resumed == ()
    assert files_in(inbox) == ["b.extxyz", "done/gen_01/a.extxyz"]


def test_what_became_known_while_it_was_claimed_goes_to_known(inbox: Inbox) -> None:
    drop(inbox.root / "a.extxyz", 0, 2)
    with inbox.hold():
        inbox.claim(examine(inbox, SETTLE).complete, SETTLE)
    accumulate(inbox.campaign, [drop(inbox.campaign.root / "same.extxyz", 0, 2)])
    publish(inbox.campaign, 1)
    watch(inbox)
    assert files_in(inbox) == ["done/known/a.extxyz"]


class Killed(BaseException):
    """As SIGKILL, it is caught by nobody."""


class Killer:
    """Ends everything before the n-th change to files below a folder, and lets nothing clean up after it.

    It sees every change that Python makes, whoever makes it: a step that is added later is counted, too.
    """

    CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate")

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.left = 0
        sys.addaudithook(self._see)  # for ever: there is no way to remove one

    def _see(self, event: str, args: tuple[object, ...]) -> None:
        if self.folder is None:
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in self.CHANGES) and str(args[0]).startswith(str(self.folder)):
            self.left -= 1
            if self.left < 0:
                raise Killed

    @contextmanager
    def after(self, changes: int, folder: Path) -> Iterator[None]:
        self.folder, self.left = folder, changes
        try:
            yield
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def killer() -> Killer:
    return Killer()


def fill(inbox: Inbox) -> None:
    """What a day brings: files, a folder, something unreadable, and a name that is there already."""
    drop(inbox.root / "old.extxyz", 0, 3)
    watch(inbox)
    drop(inbox.root / "a.extxyz", 0, 5)
    drop(inbox.root / "b.extxyz", 5, 8)
    drop(inbox.root / "run" / "c.extxyz", 8, 10)
    (inbox.root / "noise.extxyz").write_bytes(b"\x00\xff")
    drop(inbox.done / "gen_02" / "b.extxyz", 30, 31)


def test_killed_before_any_change_and_run_again_it_ends_as_if_undisturbed(inbox: Inbox, killer: Killer) -> None:
    fill(inbox)
    original = inbox.campaign.root.with_name("original")
    shutil.copytree(inbox.campaign.root, original)
    watch(inbox)
    expected, manifest = contents_of(inbox), inbox.campaign.store.manifest
    assert list(expected) == [
        "done/gen_01/old.extxyz",
        "done/gen_02/a.extxyz",
        "done/gen_02/b.extxyz",
        "done/gen_02/b_2.extxyz",
        "done/gen_02/run/c.extxyz",
        "refused/noise.extxyz",
        "refused/noise.extxyz.txt",
    ]
    for changes in range(1000):
        # at the same place, which is part of what the dataset remembers of each structure
        shutil.rmtree(inbox.campaign.root)
        shutil.copytree(original, inbox.campaign.root)
        try:
            with killer.after(changes, inbox.campaign.root):
                watch(inbox, min_new_structures=7)
            break
        except Killed:
            watch(inbox, min_new_structures=7)
        assert contents_of(inbox) == expected, f"after {changes} changes"
        assert list(inbox.claims.iterdir()) == [], f"after {changes} changes"
        assert inbox.campaign.store.manifest == manifest, f"after {changes} changes"
    assert changes > 20
