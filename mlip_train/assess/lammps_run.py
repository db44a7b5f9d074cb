"""What LAMMPS makes of an exported potential, where there is a LAMMPS with ML-PACE."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from ase import Atoms
from ase.io import read, write

from mlip_train.assess.subject import Subject
from mlip_train.base.arrays import FloatArray
from mlip_train.errors import EngineError
from mlip_train.potential.lammps import lammps_include

__all__ = ["LammpsComparison", "compare_in_lammps", "compare_with_lammps", "find_lammps"]

_PATIENCE: Final = 300.0  # seconds
_ADVICE: Final = "Mend that LAMMPS or take it from the PATH; if it alone is at fault, accept the potential by hand"
_TAIL: Final = 500  # characters of what it said
_INPUT: Final = """\
units metal
atom_style atomic
atom_modify map array sort 0 0
boundary {boundary}
box tilt large
read_data structure.data
mass * 1.0
variable potentials index "."
include "{include}"
thermo_style custom pe
thermo_modify format float %.15g
dump forces all custom 1 forces.dump id type x y z fx fy fz
dump_modify forces sort id format float %.15g
run 0
print "energy $(pe:%.15g)" file energy.txt
"""


class LammpsComparison(NamedTuple):
    """How far LAMMPS is from the ASE calculator on one structure."""

    program: Path
    energy: float  # eV/atom
    force: float  # eV/Å, largest component


def find_lammps() -> Path | None:
    """The `lmp` on the PATH, if it was built with ML-PACE."""
    program = shutil.which("lmp")
    if program is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            output = _run([program, "-h"], Path(folder)).stdout
    except EngineError:  # it cannot be run here, which is as good as none
        return None
    return Path(program) if "pace" in output.split() else None


def compare_in_lammps(subject: Subject) -> LammpsComparison | None:
    """Compare one structure with LAMMPS; None where there is none that knows ACE.

    See `compare_with_lammps` for the errors raised.
    """
    program = find_lammps()
    if program is None:
        return None
    exported, reference = subject.plan.run.exported_potential, subject.closed.reference
    elements = subject.plan.config.elements
    (structure,) = islice(subject.tried_on(), 1)
    with tempfile.TemporaryDirectory() as folder:
        include = Path(folder) / exported.with_suffix(".lmp").name
        include.write_text(lammps_include(exported.stem, elements, reference.baseline, reference.switches))
        atoms = structure.to_atoms()
        return compare_with_lammps(program, [include, exported], elements, atoms, subject.calculator)


def compare_with_lammps(
    program: Path, files: Sequence[Path], elements: Sequence[str], atoms: Atoms, calculator: Any
) -> LammpsComparison:
    """Compute one structure with LAMMPS and with an ASE calculator.

    Parameters
    ----------
    program : Path
        A LAMMPS with ML-PACE.
    files : sequence of Path
        Those that are included and read: the .lmp first, then the .yace.
    elements : sequence of str
        The element of each atom type.
    atoms : Atoms
        A structure, periodic or not.
    calculator : ASE calculator
        Of the same potential.

    Raises
    ------
    EngineError
        When LAMMPS fails, does not end, or leaves no finite numbers.
    """
    boxed = _boxed(atoms)
    calculator.calculate(boxed)
    expected = float(calculator.results["energy"]), np.array(calculator.results["forces"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in files:
            shutil.copyfile(file, folder / file.name)
        data = folder / "structure.data"
        write(data, boxed, format="lammps-data", specorder=list(elements), atom_style="atomic")
        boundary = "p p p" if boxed.pbc.all() else "f f f"
        (folder / "in.lmp").write_text(_INPUT.format(boundary=boundary, include=files[0].name))
        ended = _run([str(program), "-in", "in.lmp", "-log", "none"], folder)
        said = (ended.stdout + ended.stderr)[-_TAIL:].strip()
        if ended.returncode:
            raise EngineError(
                f"{program} could not compute a structure with {files[0].name} and ended with "
                f"{ended.returncode}: {said}. {_ADVICE}"
            )
        try:
            energy, forces = _read_results(folder, len(boxed))
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            raise EngineError(
                f"{program} ended well with {files[0].name}, but left no energy and forces that can be read "
                f"({error}): {said}. {_ADVICE}"
            ) from error
    # LAMMPS turns the cell so that a lies along x; the lengths of forces do not mind
    sizes = np.linalg.norm(forces, axis=1) - np.linalg.norm(expected[1], axis=1)
    return LammpsComparison(program, abs(energy - expected[0]) / len(boxed), float(np.abs(sizes).max()))


def _read_results(folder: Path, n_atoms: int) -> tuple[float, FloatArray]:
    """Energy in eV and forces in eV/Å; a ValueError where they are not those of so many atoms."""
    energy = float((folder / "energy.txt").read_text().split()[1])
    forces = cast("Atoms", read(folder / "forces.dump", format="lammps-dump-text")).get_forces()
    if forces.shape != (n_atoms, 3):
        raise ValueError(f"forces on {len(forces)} of {n_atoms} atoms")
    if not np.isfinite([energy, *forces.ravel()]).all():
        raise ValueError("not finite numbers")
    return energy, forces


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in its own session, so that it ends in time with all that it has started.

    Raises
    ------
    EngineError
        When it cannot be run, or does not end.
    """
    out, log = folder / "out.txt", folder / "err.txt"  # a pipe would be waited for as long as anyone holds it
    try:
        with (
            out.open("wb") as stdout,
            log.open("wb") as stderr,
            subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
            ) as process,
        ):
            try:
                code = process.wait(_PATIENCE)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be run: {error}. {_ADVICE}") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{command[0]} did not end within {_PATIENCE:g} s. {_ADVICE}") from error
    output, complaints = (file.read_text(errors="replace") for file in (out, log))
    return subprocess.CompletedProcess(command, code, output, complaints)


def _boxed(atoms: Atoms) -> Atoms:
    """A cluster needs a box in LAMMPS."""
    boxed: Atoms = atoms.copy()
    if not boxed.pbc.all():
        boxed.set_cell(None)
        boxed.center(vacuum=10.0)
        boxed.set_pbc(False)
    boxed.wrap()
    return boxed
