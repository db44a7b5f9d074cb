"""The campaign directory: every file name once, the lock, and what a crash left behind.

::

    CAMPAIGN/
      campaign.yaml                  what a person edits
      index.html                     all generations at a glance
      inbox/                         DFT results dropped here are picked up by the watching flow
      dataset/                       shards, manifest, accumulated.pckl.gzip
      generations/gen_01/            one run: input.yaml, train.pckl.gzip, log.txt, report.html, ...
      potentials/                    published bundles and current.json
      quarantine/gen_01.jsonl        refused structures and why
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import filelock

from mlip_train.base.campaigns_root import resolve_inside
from mlip_train.base.files import write_atomically
from mlip_train.base.named_file import NamedFile
from mlip_train.base.strict_yaml import load_yaml
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.campaign.generation_directory import GenerationDirectory, generation_name
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import CampaignBusyError, CampaignExistsError, CampaignNotFoundError, CorruptFileError
from mlip_train.records.potential import PotentialRecord
from mlip_train.records.refusal import Refusal

__all__ = ["BUNDLE_SUFFIXES", "Campaign", "bundle_files", "member_file"]

BUNDLE_SUFFIXES: Final = (".yaml", ".yace", ".asi", ".lmp")  # of the files that a bundle holds beside its .json
_MEMBER: Final = "{}_committee_{}.yace"  # of a bundle with a committee: the bundle's stem, the member's number
_RECORD: Final = re.compile(r"potential_gen_\d{2,}\.json")
_RUN: Final = re.compile(r"gen_\d{2,}")
_DIRECTORIES: Final = ("inbox", "dataset", "generations", "potentials", "quarantine")
_INBOX, _DATASET, _GENERATIONS, _POTENTIALS, _QUARANTINE = _DIRECTORIES
_LOCK_PATIENCE: Final = 2.0  # seconds


def member_file(record: Path, number: int) -> Path:
    """The exported potential of a member of a committee, beside its bundle's .json."""
    return record.with_name(_MEMBER.format(record.stem, f"{number:02d}"))


def bundle_files(record: Path) -> list[Path]:
    """What there is of a bundle beside its .json."""
    own = (record.with_suffix(suffix) for suffix in BUNDLE_SUFFIXES)
    return [*filter(Path.exists, own), *record.parent.glob(_MEMBER.format(record.stem, "*"))]


class Campaign:
    """A directory that holds all generations of one material system.

    Raises
    ------
    CampaignNotFoundError
        When the directory holds no campaign.yaml.
    InputError
        When it, or what is linked into it, lies outside of MLIP_CAMPAIGNS_ROOT.
    """

    CONFIG: Final = "campaign.yaml"
    config_file = NamedFile(CONFIG, "What a person edits", "a person")
    inbox = NamedFile(_INBOX, "DFT results dropped here are taken by the watching flow", "intake.inbox")
    accumulated = NamedFile(f"{_DATASET}/accumulated.pckl.gzip", "All training rows, derived", "fit.planning")
    potentials = NamedFile(_POTENTIALS, "Published bundles", "potential.potential")
    current_pointer = NamedFile(f"{_POTENTIALS}/current.json", "The newest accepted one", "campaign.campaign")
    report = NamedFile("index.html", "What a person reads about all generations", "report.campaign_page")
    dataset_map = NamedFile("dataset.chemiscope.json.gz", "The dataset as a map", "report.dataset_file")
    _publishing_note = NamedFile(f"{_POTENTIALS}/.publishing", "A bundle on its way", "campaign.campaign")

    def __init__(self, root: str | Path) -> None:
        self.root = resolve_inside(root)
        for part in (self.CONFIG, *_DIRECTORIES):
            resolve_inside(self.root / part)
        if not self.config_file.is_file():
            raise CampaignNotFoundError(
                f"{self.root} is not a campaign (no {self.CONFIG}); make one with: "
                f"mlip-train init {shlex.quote(str(root))} --elements Si"
            )

    @classmethod
    def _check_free(cls, root: Path) -> None:
        is_other = root.exists() and not (root.is_dir() and all(map(_is_of_the_making, root.iterdir())))
        if (root / cls.CONFIG).exists():  # looked for last: another run may just have made it
            raise CampaignExistsError(f"{root} is a campaign already; edit its {cls.CONFIG} instead")
        if is_other:
            raise CampaignNotFoundError(f"{root} is not an empty directory; choose another place")

    @classmethod
    def create(cls, root: str | Path, campaign_yaml: str) -> Campaign:
        """Make a new campaign directory with the given campaign.yaml.

        Raises
        ------
        CampaignExistsError
            When there is a campaign already.
        CampaignNotFoundError
            When there is something else that is not an empty directory, or none can be made there.
        ConfigError
            When the text is not a valid configuration; nothing is written then.
        InputError
            When it would lie outside of MLIP_CAMPAIGNS_ROOT.
        """
        root = resolve_inside(root)
        CampaignConfig.parse(load_yaml(campaign_yaml, cls.CONFIG), cls.CONFIG)
        cls._check_free(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignNotFoundError(f"{root} cannot be made ({error}); choose another place") from error
        with filelock.FileLock(root / ".lock"):  # two forms may be sent at once
            cls._check_free(root)
            for directory in _DIRECTORIES:
                (root / directory).mkdir(exist_ok=True)
            write_atomically(root / cls.CONFIG, campaign_yaml)
        return cls(root)

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.root.name

    @property
    def config(self) -> CampaignConfig:
        """The validated configuration, read anew.

        Raises
        ------
        ConfigError
            With one line per problem.
        """
        text = self.config_file.read_text(errors="replace")
        return CampaignConfig.parse(load_yaml(text, str(self.config_file)), str(self.config_file))

    @property
    def store(self) -> DatasetStore:
        """The dataset."""
        return DatasetStore(self.root / _DATASET)

    def bundle_record(self, generation: int) -> Path:
        """The .json of a published bundle; the bundle exists when this does."""
        return self.potentials / f"potential_{generation_name(generation)}.json"

    def generation(self, number: int) -> GenerationDirectory:
        """The run directory of a generation."""
        return GenerationDirectory(self.root / _GENERATIONS / generation_name(number))

    def pending_generation(self) -> int | None:
        """The newest generation with data but without a published potential, if it is the last."""
        generations = self.store.generations
        if generations and not self.bundle_record(generations[-1]).exists():
            return generations[-1]
        return None

    def next_generation(self) -> int:
        """The number that the next batch of new structures gets."""
        generations = self.store.generations
        return generations[-1] + 1 if generations else 1

    def published_generations(self) -> list[int]:
        """Generations whose bundle is complete, in order."""
        records = self.potentials.glob("potential_gen_*.json")
        return sorted(_number(record.stem) for record in records if _RECORD.fullmatch(record.name))

    def check_whole(self) -> None:
        """Compare what is there with what the dataset's manifest says was there.

        Raises
        ------
        CorruptFileError
            When a generation has a run or a potential but no data in the manifest: the manifest was
            lost or replaced, and going on would overwrite what it once listed.
        """
        runs = (self.root / _GENERATIONS).glob("gen_[0-9]*")
        known = {*self.published_generations(), *(_number(run.name) for run in runs if _RUN.fullmatch(run.name))}
        if lost := sorted(known - set(self.store.generations)):
            raise CorruptFileError(
                f"{self.root / _DATASET}: the manifest does not list generation {lost[0]}, which was trained or "
                "begun; restore manifest.json and the shards from the newest backup"
            )

    @contextlib.contextmanager
    def publishing(self, generation: int) -> Iterator[None]:
        """Note that a bundle is on its way, so that a crash in between can be mended.

        Raises
        ------
        CorruptFileError
            When there is an accepted bundle of this generation already; a rejected one may be replaced.
        """
        record = self.bundle_record(generation)
        if record.exists() and PotentialRecord.load(record).accepted:
            raise CorruptFileError(
                f"{record} is there already, and accepted; it is not overwritten: to replace it, reject it first"
            )
        with self.moving_current(generation):
            yield

    @contextlib.contextmanager
    def moving_current(self, generation: int) -> Iterator[None]:
        """Let the pointer follow what happens to a bundle: it is published, accepted or rejected."""
        write_atomically(self._publishing_note, f"{generation}\n")
        yield
        self._move_current(generation)
        self._publishing_note.unlink()

    def current_generation(self) -> int | None:
        """The generation whose potential is current, or None before the first.

        Raises
        ------
        CorruptFileError
            When the pointer cannot be read.
        """
        if not self.current_pointer.exists():
            return None
        try:
            return int(json.loads(self.current_pointer.read_bytes())["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFileError(
                f"{self.current_pointer} is not readable; remove it, and the next run writes it anew"
            ) from error

    def _move_current(self, generation: int) -> None:
        """Point at a generation that is accepted and newer, and away from one that is no longer accepted."""
        current = self.current_generation()
        if PotentialRecord.load(self.bundle_record(generation)).accepted:
            if current is None or generation > current:
                self._point_at(generation)
        elif current == generation:
            self._point_at_newest()

    def _point_at_newest(self) -> None:
        """Make the newest accepted generation the current one; without any there is no pointer."""
        for generation in reversed(self.published_generations()):
            if PotentialRecord.load(self.bundle_record(generation)).accepted:
                self._point_at(generation)  # in one step: at no time does the campaign seem to have none
                return
        self.current_pointer.unlink(missing_ok=True)

    def _point_at(self, generation: int) -> None:
        content = {"generation": generation, "potential": self.bundle_record(generation).name}
        write_atomically(self.current_pointer, json.dumps(content) + "\n")

    def quarantine(self, refusals: Sequence[Refusal], generation: int) -> int:
        """Record refused frames once each; return how many were not known before."""
        folder = self.root / _QUARANTINE
        known = {
            line for file in folder.glob("gen_*.jsonl") for line in file.read_text(errors="replace").splitlines()
        }
        lines = dict.fromkeys(json.dumps(refusal.model_dump()) for refusal in refusals)
        new = [line for line in lines if line not in known]
        if new:
            file = folder / f"{generation_name(generation)}.jsonl"
            before = file.read_text(errors="replace") if file.exists() else ""
            write_atomically(file, before + "\n".join(new) + "\n")
        return len(new)

    def count_quarantined(self) -> int:
        """Number of frames and files that were refused so far."""
        return sum(
            len(file.read_text(errors="replace").splitlines())
            for file in (self.root / _QUARANTINE).glob("gen_*.jsonl")
        )

    @contextlib.contextmanager
    def hold(self, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
        """Keep every other run out, and clean up after one that crashed.

        The operating system frees the lock when its holder dies.

        Parameters
        ----------
        on_wait : callable, optional
            Called with who holds the campaign before it is waited for; without it nothing waits.

        Raises
        ------
        CampaignBusyError
            When another process holds the campaign, and it is not to be waited for.
        """
        holder = self.root / ".lock.json"
        lock = filelock.FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=_LOCK_PATIENCE)
        except filelock.Timeout as error:
            busy = f"another run is working on {self.root} ({_holder_in(holder)})"
            if on_wait is None:
                raise CampaignBusyError(f"{busy}; wait for it to end, then run this again") from error
            on_wait(busy)
            lock.acquire(timeout=-1)
        try:
            write_atomically(holder, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}) + "\n")
            self._recover()
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def _recover(self) -> None:
        """Remove or finish what a crash left half done."""
        runs = f"{_GENERATIONS}/gen_*"
        within_runs = (runs, f"{runs}/committee/member_*", f"{runs}/rejected_*")
        for folder in ("", _DATASET, _POTENTIALS, _QUARANTINE, *within_runs):
            for leftover in self.root.glob(f"{folder}/.*.tmp".lstrip("/")):
                leftover.unlink()
        if self._publishing_note.exists():
            self._end_publishing(int(self._publishing_note.read_text()))
        if not self.current_pointer.exists():
            self._point_at_newest()
        for number in self.published_generations():
            self.generation(number).remove_scratch()

    def _end_publishing(self, generation: int) -> None:
        """Bring to its end what a crash interrupted: the bundle exists when its record does."""
        record = self.bundle_record(generation)
        if record.exists():
            self._move_current(generation)
        else:
            for file in bundle_files(record):
                file.unlink()
        self._publishing_note.unlink()


def _is_of_the_making(entry: Path) -> bool:
    """Whether an entry of a directory is what making a campaign leaves there when it is killed."""
    if entry.name in _DIRECTORIES:
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name == ".lock" or (entry.name.startswith(f".{Campaign.CONFIG}.") and entry.suffix == ".tmp")


def _holder_in(holder: Path) -> str:
    """Who holds a lock, as far as its holder has written it down."""
    try:
        content = json.loads(holder.read_text())
        return f"process {content['pid']} on {content['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said who it is"


def _number(name: str) -> int:
    """The generation that a name such as gen_07 or potential_gen_07 ends with."""
    return int(name.rsplit("_", 1)[-1])
