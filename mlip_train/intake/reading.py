"""Reading DFT results: from any file that ASE reads to checked structures and refusals."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms

from mlip_train.atoms.structure import Structure
from mlip_train.base.campaigns_root import refuse_escape, resolve_inside
from mlip_train.errors import InputError
from mlip_train.intake.convergence import convergence_of, says_converged
from mlip_train.intake.formats import PICKLE_SUFFIXES, RESULT_FORMATS, format_of, is_pickle
from mlip_train.intake.frame_check import FrameRules, IsolatedAtom, check_frame
from mlip_train.records.refusal import Refusal

__all__ = ["Batch", "find_files", "plain", "read_batch"]

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
    """What the frame check made of some files, in the order of files and frames."""

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
    formats = {path: format_of(path) for path in sorted(files) if path.is_file()}
    with_xml = {path.parent for path, kind in formats.items() if kind == "vasp-xml"}
    return [
        path
        for path, kind in formats.items()
        if path.name.endswith(PICKLE_SUFFIXES)
        or (kind in RESULT_FORMATS and not (kind == "vasp-out" and path.parent in with_xml))
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


def _checked_frames(path: Path, rules: FrameRules) -> Iterator[Structure | IsolatedAtom | Refusal]:
    if not path.is_file():
        yield Refusal(source=plain(path), frame=None, reason="it is not a regular file; give a file or a folder")
        return
    if is_pickle(path):
        yield Refusal(source=plain(path), frame=None, reason=_PICKLE_REFUSED)
        return
    try:
        frames = _frames_of(path)
        converged = convergence_of(path, len(frames))
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
            yield check_frame(atoms, rules, plain(path), frame, converged=says_converged(atoms, done))
        # A frame can hold anything; what the checks did not foresee must not stop the others either.
        except Exception as error:  # noqa: BLE001
            yield Refusal(
                source=plain(path),
                frame=frame,
                reason=f"it cannot be checked ({_in_short(error)}); correct or remove it",
            )


def _frames_of(path: Path) -> list[Atoms]:
    if format_of(path) in {"db", "json"}:
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
