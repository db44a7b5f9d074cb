"""Calculators that are right, and others that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from mlip_train.base.arrays import FloatArray

__all__ = ["Changed", "OfVolume", "Pairwise", "emt"]

Change = Callable[[Atoms, float, FloatArray], tuple[float, FloatArray]]


class _Made(Calculator):
    implemented_properties = ["energy", "forces"]

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Atoms] = []

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.seen.append(self.atoms.copy())
        energy, forces = self.compute(self.atoms)
        self.results = {"energy": energy, "forces": forces}

    def compute(self, atoms: Atoms) -> tuple[float, FloatArray]:
        raise NotImplementedError


class Changed(_Made):
    """Effective medium theory with a change: the structure, its energy (eV) and forces (eV/Å) to other ones."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change = change

    def compute(self, atoms: Atoms) -> tuple[float, FloatArray]:
        right = EMT()
        right.calculate(atoms)
        return self._change(atoms, right.results["energy"], right.results["forces"])


class Pairwise(_Made):
    """A potential of pairs of open space: energy (eV) and slope (eV/Å) of the distance (Å)."""

    def __init__(self, energy: Callable[[Any], Any], slope: Callable[[Any], Any]) -> None:
        super().__init__()
        self._energy, self._slope = energy, slope

    def compute(self, atoms: Atoms) -> tuple[float, FloatArray]:
        one, other = np.triu_indices(len(atoms), 1)
        vectors = atoms.positions[other] - atoms.positions[one]
        distances = np.linalg.norm(vectors, axis=1)
        pull = self._slope(distances)[:, None] * vectors / distances[:, None]
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, one, pull)
        np.add.at(forces, other, -pull)
        return float(np.sum(self._energy(distances))), forces


class OfVolume(_Made):
    """Energy per atom (eV) of the volume per atom (Å³), and nothing else."""

    def __init__(self, energy: Callable[[float], float]) -> None:
        super().__init__()
        self._energy = energy

    def compute(self, atoms: Atoms) -> tuple[float, FloatArray]:
        n = len(atoms)
        return n * float(self._energy(atoms.get_volume() / n)), np.zeros((n, 3))


def emt() -> Changed:
    """Effective medium theory as it is."""
    return Changed(lambda atoms, energy, forces: (energy, forces))
