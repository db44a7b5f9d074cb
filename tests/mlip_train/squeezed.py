"""Shorter distances than the data have."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlip_train.potential.potential import Potential
from tests.mlip_train.frames import with_results

__all__ = ["squeezed"]


def squeezed(path: Path, silicon: list[Atoms], distance: float, potential: Potential) -> Path:
    """A real structure with two of its atoms moved towards each other, labelled by a potential."""
    atoms = silicon[30].copy()
    bonds = atoms.get_all_distances(mic=True) + 99 * np.eye(len(atoms))
    one, other = np.unravel_index(bonds.argmin(), bonds.shape)
    atoms.set_distance(one, other, distance, fix=0, mic=True)
    atoms.calc = potential.calculator()
    energy = atoms.get_potential_energy() + len(atoms) * potential.record.reference_energies["Si"]
    ase.io.write(path, with_results(atoms, energy=energy, forces=atoms.get_forces()))
    return path
