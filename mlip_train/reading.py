"""Reading DFT results: from any file that ASE reads to checked structures and refusals."""

from __future__ import annotations

import glob
import gzip
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype

from mlip_train.errors import InputError
from mlip_train.structures import FrameRules, IsolatedAtom, Refusal, Structure, check_frame

__all__ = ["Batch", "find_files", "read_batch"]

# What a folder is searched for; a file that is named on the command line may be of any format.
_RESULT_FORMATS = frozenset(
    {
        "abinit-out", "aims-output", "castep-castep", "cp2k-output", "db", "espresso-out", "extxyz",
        "gaussian-out", "gpaw-out", "json", "nwchem-out", "octopus-in", "orca-output", "traj",
        "vasp-out", "vasp-xml",
    }
)  # fmt: skip
_PICKLE_SUFFIXES = (".pkl", ".pckl", ".pickle", ".pkl.gz", ".pckl.gz", ".pkl.gzip", ".pckl.gzip")
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
        When a source names nothing that exists, or nothing in a folder looks like a DFT result.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            matches = _results_in(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute patterns
            matches = [file for match in matches for file in (_results_in(match) if match.is_dir() else [match])]
        if not matches:
            what = "contains no file that looks like DFT results" if path.is_dir() else "does not exist"
            raise InputError(
                f"{source} {what}. Give files that ASE can read (extxyz, vasprun.xml, OUTCAR, Quantum "
                "ESPRESSO output, ASE db, ...), folders of them, or a glob pattern"
            )
        found.update((match.resolve(), None) for match in matches)
    return list(found)


def _results_in(folder: Path) -> list[Path]:
    """Result files below a folder; of one VASP run only vasprun.xml, which has all digits."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    formats = {path: _format_of(path) for path in files}
    with_xml = {path.parent for path, kind in formats.items() if kind == "vasp-xml"}
    return [
        path
        for path, kind in formats.items()
        if path.name.endswith(_PICKLE_SUFFIXES)
        or (kind in _RESULT_FORMATS and not (kind == "vasp-out" and path.parent in with_xml))
    ]


def _format_of(path: Path) -> str | None:
    try:
        return str(filetype(str(path)))
    except (UnknownFileTypeError, OSError, EOFError, UnicodeDecodeError):
        return None


def _checked_frames(path: Path, rules: FrameRules) -> Iterator[Structure | IsolatedAtom | Refusal]:
    if _is_pickle(path):
        yield Refusal(source=str(path), frame=None, reason=_PICKLE_REFUSED)
        return
    try:
        frames = list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))
        converged = _convergence(path, len(frames))
    # ASE's readers raise whatever their parsing ran into; none of it must stop the other files.
    except Exception as error:  # noqa: BLE001
        what = str(error).strip().splitlines()
        reason = f"ASE cannot read it ({type(error).__name__}{': ' + what[0][:200] if what else ''})"
        yield Refusal(source=str(path), frame=None, reason=reason)
        return
    if not frames:
        yield Refusal(source=str(path), frame=None, reason="it contains no structures")
    for frame, (atoms, done) in enumerate(zip(frames, converged, strict=True)):
        yield check_frame(atoms, rules, str(path), frame, converged=_says_converged(atoms, done))


def _is_pickle(path: Path) -> bool:
    if path.name.endswith(_PICKLE_SUFFIXES):
        return True
    try:
        with _open(path) as stream:
            head = stream.read(2)
    except (OSError, EOFError):
        return False
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5  # pickle protocols 2 to 5


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith((".gz", ".gzip")):
        return cast("IO[bytes]", gzip.open(path))
    return path.open("rb")


def _says_converged(atoms: Atoms, found: bool | None) -> bool | None:
    stated = atoms.info.get("converged")
    if stated is None:
        return found
    return str(stated).strip().lower() not in {"false", "f", "no", "0", "0.0"}


def _convergence(path: Path, n_frames: int) -> list[bool | None]:
    """What the file says of each frame's electronic convergence; None where it says nothing."""
    flags: list[bool] = []
    match _format_of(path):
        case "vasp-xml":
            flags = _vasprun_convergence(path)
        case "vasp-out":
            flags = _marked_lines(path, "aborting loop because EDIFF is reached", "EDIFF was not reached")
        case "espresso-out":
            flags = _marked_lines(path, "convergence has been achieved", "convergence NOT achieved")
    if len(flags) == n_frames:
        return list(flags)
    # Which frame is meant cannot be told; one that failed makes all of them doubtful.
    return [None if all(flags) else False] * n_frames


def _vasprun_convergence(path: Path) -> list[bool]:
    """A VASP step that used all NELM electronic iterations stopped without converging."""
    nelm, flags = 60, []
    with _open(path) as stream:
        for _, element in ElementTree.iterparse(stream):  # noqa: S314 - ASE has parsed it before
            if element.tag == "i" and element.get("name") == "NELM" and element.text:
                nelm = int(element.text)
            elif element.tag == "calculation":
                flags.append(len(element.findall("scstep")) < nelm)
                element.clear()
    return flags


def _marked_lines(path: Path, good: str, bad: str) -> list[bool]:
    flags = []
    with _open(path) as stream:
        for line in stream:
            if bad.encode() in line:
                flags.append(False)
            elif good.encode() in line:
                flags.append(True)
    return flags
