"""A stored DFT result.

=============  =========  =======  ============================================================
property       shape      unit     convention
=============  =========  =======  ============================================================
numbers        (n,)       --       atomic numbers
positions      (n, 3)     Å        Cartesian
cell           (3, 3)     Å        rows are lattice vectors; zeros where open
pbc            (3,)       --       all true (bulk) or all false (cluster); the engine takes no slabs
energy         ()         eV       total, force-consistent where the source distinguishes it
forces         (n, 3)     eV/Å     without constraints applied
stress         (6,)       eV/Å³    Voigt xx yy zz yz xz xy, ASE sign (tension positive); optional
weight         ()         --       how often the structure counts in a fit; 1 unless its source says otherwise
atom_weights   (n,)       --       how often the force on each atom counts in it; optional
=============  =========  =======  ============================================================
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray

from mlip_train.base.arrays import FloatArray

__all__ = ["GEOMETRY_RESOLUTION", "Structure", "composition_of"]

GEOMETRY_RESOLUTION = 1e-4  # Å; well below any displacement that changes an energy noticeably


@dataclass(frozen=True, eq=False)
class Structure:
    """One checked DFT result; the module's table gives shapes, units and signs."""

    numbers: NDArray[np.int32]
    positions: FloatArray
    cell: FloatArray
    pbc: NDArray[np.bool_]
    energy: float
    forces: FloatArray
    stress: FloatArray | None
    config_type: str
    source: str
    frame: int
    weight: float = 1.0
    atom_weights: FloatArray | None = None

    @cached_property
    def structure_id(self) -> str:
        """SHA-256 of the geometry: two results for one geometry share it, whatever their labels.

        Lengths are rounded to `GEOMETRY_RESOLUTION`, so that a file written with eight digits is
        recognised beside its full-precision original.
        """
        digest = hashlib.sha256(b"geometry 1")  # to be counted up when anything below changes
        digest.update(np.ascontiguousarray(self.numbers, dtype="<i4").tobytes())
        for array in (self.positions, self.cell):
            steps = np.rint(array / GEOMETRY_RESOLUTION)
            digest.update(np.ascontiguousarray(steps + 0.0, dtype="<f8").tobytes())  # + 0.0: no -0.0
        digest.update(np.ascontiguousarray(self.pbc, dtype="?").tobytes())
        return digest.hexdigest()

    @cached_property
    def symbols(self) -> list[str]:
        """Chemical symbol of each atom."""
        return [chemical_symbols[number] for number in self.numbers]

    @property
    def total_atom_weight(self) -> float:
        """The weights of all atoms together; their number where they have none of their own."""
        return float(len(self.numbers) if self.atom_weights is None else self.atom_weights.sum())

    @property
    def has_virial(self) -> bool:
        """Whether there is a stress, and a volume that it belongs to."""
        return self.stress is not None and bool(self.pbc.all())

    @property
    def composition(self) -> str:
        """Reduced formula, such as AlNi3."""
        return composition_of(self.symbols)

    @property
    def volume_per_atom(self) -> float | None:
        """Volume in Å³/atom; None for a cluster, which has none."""
        return float(abs(np.linalg.det(self.cell))) / len(self.numbers) if self.pbc.all() else None

    def relative_energy(self, reference_energies: Mapping[str, float]) -> float:
        """Total energy (eV) minus the reference energies (eV per atom) of its elements."""
        return self.energy - sum(reference_energies[symbol] for symbol in self.symbols)

    def to_atoms(self) -> Atoms:
        """Return the geometry alone, without labels."""
        return Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)


def composition_of(symbols: Iterable[str]) -> str:
    """Reduced formula of some atoms, such as AlNi3."""
    return str(Formula.from_list(list(symbols)).reduce()[0].format("metal"))
