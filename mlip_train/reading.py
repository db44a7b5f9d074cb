"""Reading DFT results: from any file that ASE reads to checked structures and refusals."""

from __future__ import annotations

import contextlib
import glob
import gzip
import lzma
import os
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import ase.db
import ase.io
from ase import Atoms
from ase.io.formats import (
    PEEK_BYTES,
    UnknownFileTypeError,
    filetype,
    get_compression,
    ioformats,
    open_with_compression,
)

from mlip_train.campaigns_root import refuse_escape, resolve_inside
from mlip_train.errors import InputError
from mlip_train.structures import FrameRules, IsolatedAtom, Refusal, Structure, check_frame, columns_of

__all__ = ["Batch", "find_files", "plain", "read_batch"]

# What a folder is searched for; a file that is named on the command line may be of any format.
_RESULT_FORMATS = frozenset(
    {
        "abinit-out", "aims-output", "castep-castep", "cp2k-output", "db", "espresso-out", "extxyz",
        "gaussian-out", "gpaw-out", "json", "nwchem-out", "octopus-in", "orca-output", "traj",
        "vasp-out", "vasp-xml",
    }
)  # fmt: skip
_DATABASE_ROW = re.compile(rb'\s*\{\s*"\d+"\s*:\s*\{')  # how ASE's JSON databases begin
_PICKLE_SUFFIXES = (".pkl", ".pckl", ".pickle", ".pkl.gz", ".pckl.gz", ".pkl.gzip", ".pckl.gzip")
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # bytes that are not what they seem
_WHAT_TO_GIVE = (
    "Give files that ASE can read (extxyz, vasprun.xml, OUTCAR, Quantum ESPRESSO output, ASE db, ...), folders "
    "of them, or a glob pattern"
)
_PICKLE_REFUSED = (
    "it is a pickle, and loading one runs whatever code it holds. Convert it where it comes from, for "
    "example with ase.io.write('data.extxyz', frames)"
)


@dataclass
class Batch:
    """What the gate made of some files, in the order of files and frames."""

    structures: list[Structure] = field(default_factory=list)
    isolated_atoms: list[IsolatedAtom] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def read_batch(sources: Iterable[str | Path], rules: FrameRules) -> Batch:
    """Read and check every frame of the given files, folders and glob patterns.

    Raises
    ------
    InputError
        When a source names nothing that exists.
    """
    batch = Batch()
    for path in find_files(sources):
        for outcome in _checked_frames(path, rules):
            match outcome:
                case Structure():
                    batch.structures.append(outcome)
                case IsolatedAtom():
                    batch.isolated_atoms.append(outcome)
                case Refusal():
                    batch.refusals.append(outcome)
    return batch


def find_files(sources: Iterable[str | Path]) -> list[Path]:
    """Expand folders and glob patterns into absolute file paths, each once, in a fixed order.

    Raises
    ------
    InputError
        When a source names nothing that exists, nothing in a folder looks like a DFT result, or
        something leaves MLIP_CAMPAIGNS_ROOT.
    """
    found: dict[Path, None] = {}
    for source in sources:
        try:
            matches = _matches(source)
        # names too long, loops of links, unknown users, NUL characters
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{source} does not exist or cannot be looked up ({error}). {_WHAT_TO_GIVE}"
            ) from error
        found.update((match, None) for match in matches)
    return list(found)


def _matches(source: str | Path) -> list[Path]:
    if not str(source):
        raise InputError(f"an empty name was given (an unset variable?). {_WHAT_TO_GIVE}")
    path = Path(source).expanduser()
    refuse_escape(path)
    if path.is_dir():
        matches, otherwise = _results_in(path), "contains no file that looks like DFT results"
    elif path.exists():
        matches, otherwise = [path], ""
    else:
        named = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute
        matches = [file for name in named for file in (_results_in(name) if name.is_dir() else [name])]
        otherwise = "matches no file" if glob.has_magic(str(path)) else "does not exist"
    if not matches:
        raise InputError(f"{source} {otherwise}. {_WHAT_TO_GIVE}")
    return [resolve_inside(match) for match in matches]


def _results_in(folder: Path) -> list[Path]:
    """Result files below a folder; of one VASP run only vasprun.xml, which has all digits."""
    files = _files_below(folder)
    formats = {path: _format_of(path) for path in sorted(files) if path.is_file()}
    with_xml = {path.parent for path, kind in formats.items() if kind == "vasp-xml"}
    return [
        path
        for path, kind in formats.items()
        if path.name.endswith(_PICKLE_SUFFIXES)
        or (kind in _RESULT_FORMATS and not (kind == "vasp-out" and path.parent in with_xml))
    ]


def _files_below(folder: Path) -> list[Path]:
    """Files that are not hidden, nor in hidden folders; through links to folders too, each folder once."""
    files, seen = [], set()
    for above, folders, names in os.walk(folder, followlinks=True):
        where = resolve_inside(above)
        if where in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(where)
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(above, name) for name in names if not name.startswith(".")]
    return files


def _format_of(path: Path) -> str | None:
    """The ASE format of a file, told by its name or its content; an ending such as .log tells nothing."""
    try:
        kind = ioformats[filetype(str(path))]
        with _open(path) as stream:
            head = stream.read(PEEK_BYTES)
    except (*_UNREADABLE, UnknownFileTypeError, KeyError):
        return None
    name, _ = get_compression(path.name)
    if kind.name == "json":
        return kind.name if _DATABASE_ROW.match(head) else None
    told = kind.match_name(name) or not kind.magic or kind.match_magic(head)
    return str(kind.name) if told else None


def _checked_frames(path: Path, rules: FrameRules) -> Iterator[Structure | IsolatedAtom | Refusal]:
    if not path.is_file():
        yield Refusal(source=plain(path), frame=None, reason="it is not a regular file; give a file or a folder")
        return
    if _is_pickle(path):
        yield Refusal(source=plain(path), frame=None, reason=_PICKLE_REFUSED)
        return
    try:
        frames = _frames_of(path)
        converged = _convergence(path, len(frames))
    # ASE's readers raise whatever their parsing ran into; none of it must stop the other files.
    except Exception as error:  # noqa: BLE001
        yield Refusal(
            source=plain(path),
            frame=None,
            reason=f"ASE cannot read it ({_in_short(error)}); check that it is whole and a DFT result",
        )
        return
    if not frames:
        yield Refusal(source=plain(path), frame=None, reason="it contains no structures; leave it out")
    for frame, (atoms, done) in enumerate(zip(frames, converged, strict=True)):
        try:
            yield check_frame(atoms, rules, plain(path), frame, converged=_says_converged(atoms, done))
        # A frame can hold anything; what the checks did not foresee must not stop the others either.
        except Exception as error:  # noqa: BLE001
            yield Refusal(
                source=plain(path),
                frame=frame,
                reason=f"it cannot be checked ({_in_short(error)}); correct or remove it",
            )


def _frames_of(path: Path) -> list[Atoms]:
    if _format_of(path) in {"db", "json"}:
        # ase.io would leave the columns of a row behind, among them config_type
        with ase.db.connect(path, serial=True) as database:
            return [row.toatoms(add_additional_information=True) for row in database.select()]
    return list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))


def plain(text: str | Path) -> str:
    """A path, or text with paths, that any file can hold, whatever bytes are in a name."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0][:200]}" if lines else "")


def _is_pickle(path: Path) -> bool:
    if path.name.endswith(_PICKLE_SUFFIXES):
        return True
    try:
        with _open(path) as stream:
            head = stream.read(2)
    except _UNREADABLE:
        return False
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5  # pickle protocols 2 to 5


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gzip"):
        return cast("IO[bytes]", gzip.open(path))
    return cast("IO[bytes]", open_with_compression(str(path), "rb"))


def _says_converged(atoms: Atoms, found: bool | None) -> bool | None:
    stated = columns_of(atoms).get("converged", atoms.info.get("converged"))
    if stated is None:
        return found
    return str(stated).strip().lower() in {"true", "t", "yes", "1", "1.0"}  # "not yet" is no yes


def _convergence(path: Path, n_frames: int) -> list[bool | None]:
    """What the file says of each frame's electronic convergence; None where it says nothing."""
    flags: list[bool] = []
    match _format_of(path):
        case "vasp-xml":
            flags = _vasprun_convergence(path)
        case "vasp-out":
            flags = _outcar_convergence(path)
        case "espresso-out":
            flags = _espresso_convergence(path)
    if len(flags) >= n_frames:  # a last step that was not finished is no frame
        return list(flags[:n_frames])
    # Which frame is meant cannot be told; one that failed makes all of them doubtful.
    return [None if all(flags) else False] * n_frames


def _vasprun_convergence(path: Path) -> list[bool]:
    """A VASP step that used all NELM electronic iterations stopped without converging."""
    nelm = 60
    iterations: list[int] = []  # per ionic step
    # A killed run leaves the file without its end; ASE takes the finished steps, and so do we.
    with _open(path) as stream, contextlib.suppress(ElementTree.ParseError):
        for event, element in ElementTree.iterparse(stream, ("start", "end")):  # noqa: S314 - ASE has parsed it
            if event == "start" and element.tag == "calculation":
                iterations.append(0)
            elif event == "end" and element.tag == "scstep" and iterations:
                iterations[-1] += 1
                element.clear()
            elif event == "end" and element.tag == "i" and element.get("name") == "NELM" and element.text:
                nelm = int(element.text)
    return [done < nelm for done in iterations]


def _outcar_convergence(path: Path) -> list[bool]:
    """A step is good when EDIFF was reached before its free energy; older versions are silent if not."""
    flags, reached = [], False
    with _open(path) as stream:
        for line in stream:
            if b"aborting loop because EDIFF is reached" in line:
                reached = True
            elif b"FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
                flags.append(reached)
                reached = False
    return flags


def _espresso_convergence(path: Path) -> list[bool]:
    """What was said last of each configuration; a hybrid functional converges more than once."""
    flags: list[bool] = []
    with _open(path) as stream:
        for line in stream:
            if b"Program PWSCF" in line or b"ATOMIC_POSITIONS" in line:  # where ASE begins a frame
                flags.append(True)
            elif flags and b"convergence NOT achieved" in line:
                flags[-1] = False
            elif flags and b"convergence has been achieved" in line:
                flags[-1] = True
    return flags
