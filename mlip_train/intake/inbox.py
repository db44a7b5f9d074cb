"""The inbox of a campaign: DFT results are dropped here, claimed, and put away once they were learned from.

::

    inbox/
      run42/, more.extxyz            what was dropped: files, and folders as a whole
      .claimed/gen_03/               taken for generation 3, which is not published yet
      done/gen_03/                   learned from by generation 3
      done/known/                    brought nothing new
      refused/                       could not be read; a .txt beside each says why

Every step is one rename inside this directory, so that whatever kills a run between two of them leaves
each file in exactly one of these places, where the next run finds it.
"""

import contextlib
import glob
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import filelock

from mlip_train.base.campaigns_root import resolve_inside
from mlip_train.base.files import fsync_directory, write_atomically
from mlip_train.base.named_file import NamedFile
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.generation_directory import generation_name
from mlip_train.errors import CampaignBusyError, InputError
from mlip_train.intake.reading import plain

__all__ = ["Inbox"]

_IN_TRANSFER: Final = (".tmp", ".part", ".partial", ".filepart")
_OF_EDITORS: Final = (".swp", "~")  # in a folder these are left by the one who wrote it, and say nothing


class Inbox:
    """Claims what was dropped into a campaign's inbox and puts it away; use it while holding it."""

    claims = NamedFile(
        ".claimed", "A folder per batch, named after the generation that claimed it", "intake.inbox"
    )
    done = NamedFile("done", "What was used, by generation", "intake.inbox")
    refused = NamedFile("refused", "What cannot be read, with the reasons", "intake.inbox")

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.root = campaign.inbox

    @property
    def pattern(self) -> str:
        """Matches everything that is claimed; short, where a list of names could exceed what Prefect takes."""
        return f"{glob.escape(str(self.claims))}/gen_*/*"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every other watcher out, and put away what a killed one had used.

        The operating system frees the lock when its holder dies.

        Raises
        ------
        CampaignBusyError
            When another process holds the inbox.
        InputError
            When a file has the name of one of the inbox's own folders, or one of them is a link that leaves
            MLIP_CAMPAIGNS_ROOT.
        """
        for folder in (self.claims, self.done, self.refused):
            resolve_inside(folder)
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder} must be a folder for the inbox's own use; give that file another name")
            folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.root / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise CampaignBusyError(
                f"another run is taking files from {self.root}; wait for it to end, then run this again"
            ) from error
        try:
            for leftover in self.refused.glob(".*.tmp"):
                leftover.unlink()
            self._put_away_learned()
            yield
        finally:
            lock.release()

    def look(self, settle_seconds: float) -> tuple[list[Path], dict[str, str]]:
        """What is complete, and by name why the rest is left where it is.

        Parameters
        ----------
        settle_seconds : float
            A file, or a folder with all that is in it, is complete when it did not change for so long.
        """
        now = self._now()
        complete, left = [], {}
        for entry in self._dropped():
            if reason := _why_left(entry, now, settle_seconds):
                left[plain(entry.name)] = plain(reason)
            else:
                complete.append(entry)
        return complete, left

    def claimed(self) -> list[Path]:
        """What was claimed and not put away yet."""
        return [entry for batch in self._batches() for entry in sorted(batch.iterdir())]

    def claim(self, entries: Iterable[Path], settle_seconds: float) -> dict[str, str]:
        """Take entries out of everyone's hands; return by name why some could not be taken.

        What changed since it was looked at is left.
        """
        # Rows of the dataset name the files they come from. A folder of its own for every generation keeps
        # those names apart when files of one name arrive again and again.
        batch = self.claims / generation_name(self.campaign.next_generation())
        now = self._now()
        left = {}
        for entry in entries:
            reason = _why_left(entry, now, settle_seconds) or _why_stuck(_move, entry, batch)
            if reason:
                left[plain(entry.name)] = plain(reason)
        return left

    def refuse(self, entry: Path, reason: str) -> str | None:
        """Put an entry aside with a note that says why; return why that was not possible, if it was not."""
        return _why_stuck(self._refuse, entry, reason)

    def finish(self) -> None:
        """Put away all that is claimed; to be called when a generation has looked at it and was published.

        A batch that no generation learned from brought nothing: all of it is known, or was refused.
        """
        self._put_away_learned()
        learned = self._generations_of_batches()
        for batch in self._batches():
            if batch.name not in learned:
                _put_away(batch, self.done / "known")

    def _put_away_learned(self) -> None:
        published = self.campaign.published_generations()
        learned = self._generations_of_batches()
        for batch in self._batches():
            # A generation that was never published is part of the next one that was.
            since = [number for number in published if batch.name in learned and number >= learned[batch.name]]
            if since:
                _put_away(batch, self.done / generation_name(since[0]))

    def _refuse(self, entry: Path, reason: str) -> None:
        text = plain(f"{entry.name} was refused: {reason}\nMend it and put it into the inbox again.\n")
        # A run that was killed before it moved the entry has left the same note.
        target = _free(
            self.refused,
            entry.name,
            lambda name: _is_free(name) and (_is_free(_note(name)) or _holds(_note(name), text)),
        )
        write_atomically(_note(target), text)
        _rename(entry, target)

    def _dropped(self) -> list[Path]:
        own = {self.done.name, self.refused.name}
        entries = (entry for entry in self.root.iterdir() if not entry.name.startswith("."))
        return sorted(entry for entry in entries if entry.name not in own)

    def _batches(self) -> list[Path]:
        return sorted(self.claims.glob("gen_*"))

    def _generations_of_batches(self) -> dict[str, int]:
        """A generation that holds structures of a batch, by the batch's name."""
        claims = Path(plain(self.claims.resolve()))
        taken = self.campaign.store.sources().items()
        batches = [
            (Path(source).relative_to(claims).parts[0], n) for source, n in taken if claims in Path(source).parents
        ]
        return dict(batches)

    def _now(self) -> float:
        """Time by the clock that stamps the files, which may be that of a file server."""
        os.utime(self.claims)
        return self.claims.stat().st_ctime


def _why_left(entry: Path, now: float, settle_seconds: float) -> str | None:
    """Why an entry is not to be taken, if it is not."""
    try:
        tree = list(_tree(entry))
    except OSError as error:
        return f"it cannot be looked at ({error})"
    for path, status in tree:
        if stat.S_ISLNK(status.st_mode):
            return f"{path} is a symbolic link; put the file itself there"
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return f"{path} is neither a file nor a folder; remove it"
        if path.name.lower().endswith(_IN_TRANSFER if path != entry else _IN_TRANSFER + _OF_EDITORS):
            return f"{path} has a temporary name; rename it when it is whole"
    if not any(stat.S_ISREG(status.st_mode) and status.st_size for _, status in tree):
        return "it is still empty"
    # The time of the last change of any kind: nobody can set it, as cp -p sets the time of the content. It may lie
    # in the future after a clock was set back; what changes now has the time of now.
    if any(abs(now - status.st_ctime) < settle_seconds for _, status in tree):
        return f"it changed less than {settle_seconds:g} s ago"
    return None


def _tree(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A file, or a folder and all that is in it; links are not followed."""
    status = path.lstat()
    yield path, status
    if stat.S_ISDIR(status.st_mode):
        for child in path.iterdir():
            yield from _tree(child)


def _why_stuck(move: Callable[..., None], *what: Any) -> str | None:
    """Do what moves an entry; say why it cannot be done, because one entry must not stop the others."""
    try:
        move(*what)
    except OSError as error:
        return f"it cannot be moved ({error})"
    return None


def _put_away(batch: Path, folder: Path) -> None:
    for entry in sorted(batch.iterdir()):
        _move(entry, folder)
    batch.rmdir()


def _move(entry: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    _rename(entry, _free(folder, entry.name, _is_free))


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    fsync_directory(target.parent)
    fsync_directory(source.parent)


def _free(folder: Path, name: str, is_free: Callable[[Path], bool]) -> Path:
    """The first of NAME.xyz, NAME_2.xyz, ... that is free; a rename would replace what is there."""
    stem, dot, endings = name.partition(".")
    names = itertools.chain([name], (f"{stem}_{number}{dot}{endings}" for number in itertools.count(2)))
    return next(target for target in map(folder.joinpath, names) if is_free(target))


def _is_free(path: Path) -> bool:
    return not os.path.lexists(path)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _note(refused: Path) -> Path:
    return refused.with_name(f"{refused.name}.txt")
