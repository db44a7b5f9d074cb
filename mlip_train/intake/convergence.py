"""What a DFT code wrote about the electronic convergence of its frames."""

import contextlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ase import Atoms

from mlip_train.intake.formats import format_of, open_plain
from mlip_train.intake.frame_check import columns_of

__all__ = ["convergence_of", "says_converged"]


def says_converged(atoms: Atoms, found: bool | None) -> bool | None:
    """What a frame says of its convergence itself; else what was found in its file."""
    stated = columns_of(atoms).get("converged", atoms.info.get("converged"))
    if stated is None:
        return found
    return str(stated).strip().lower() in {"true", "t", "yes", "1", "1.0"}  # "not yet" is no yes


def convergence_of(path: Path, n_frames: int) -> list[bool | None]:
    """What the file says of each frame's electronic convergence; None where it says nothing."""
    flags: list[bool] = []
    match format_of(path):
        case "vasp-xml":
            flags = _vasprun_convergence(path)
        case "vasp-out":
            flags = _outcar_convergence(path)
        case "espresso-out":
            flags = _espresso_convergence(path)
    if len(flags) >= n_frames:  # a last step that was not finished is no frame
        return list(flags[:n_frames])
    # Which frame is meant cannot be known; one that failed makes all of them doubtful.
    return [None if all(flags) else False] * n_frames


def _vasprun_convergence(path: Path) -> list[bool]:
    """A VASP step that used all NELM electronic iterations stopped without converging."""
    nelm = 60
    iterations: list[int] = []  # per ionic step
    # A killed run leaves the file without its end; ASE takes the finished steps, and so do we.
    with open_plain(path) as stream, contextlib.suppress(ElementTree.ParseError):
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
    with open_plain(path) as stream:
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
    with open_plain(path) as stream:
        for line in stream:
            if b"Program PWSCF" in line or b"ATOMIC_POSITIONS" in line:  # where ASE begins a frame
                flags.append(True)
            elif flags and b"convergence NOT achieved" in line:
                flags[-1] = False
            elif flags and b"convergence has been achieved" in line:
                flags[-1] = True
    return flags
