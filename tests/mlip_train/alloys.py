"""Labelled structures of one and two elements, small enough for tests by the hundred."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_train.atoms.structure import Structure
from tests.mlip_train.frames import structure, with_results

__all__ = ["aluminium", "aluminium_nickel", "checked", "labelled_by_emt", "write_frames"]


def labelled_by_emt(atoms: Atoms, config_type: str) -> Atoms:
    """Attach energy and forces of effective medium theory."""
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.info["config_type"] = config_type
    return with_results(atoms, **results)


def aluminium(n: int, seed: int = 0) -> list[Atoms]:
    """Distorted cells of aluminium, four atoms each."""
    random = np.random.default_rng(seed)
    return [_cell("Al", random, "Al") for _ in range(n)]


def aluminium_nickel(n: int, seed: int = 0) -> list[Atoms]:
    """Distorted cells of Al, Ni and both, four atoms each."""
    random = np.random.default_rng(seed)
    frames = []
    for index in range(n):
        composition = ("Al", "Ni", "AlNi3", "Al2Ni2")[index % 4]
        frames.append(_cell(composition, random, "pure" if index % 4 < 2 else "mixed"))
    return frames


def _cell(composition: str, random: np.random.Generator, config_type: str) -> Atoms:
    atoms = bulk("Al", "fcc", a=random.uniform(3.7, 4.1), cubic=True)
    atoms.symbols = random.permutation(Atoms(composition * (4 // len(Atoms(composition)))).symbols)
    atoms.rattle(0.15, rng=random)
    return labelled_by_emt(atoms, config_type)


def checked(frames: Sequence[Atoms]) -> list[Structure]:
    """Frames as the store holds them."""
    return [structure(atoms, frame=number) for number, atoms in enumerate(frames)]


def write_frames(path: Path, frames: Sequence[Atoms]) -> Path:
    """Write frames to a file with all that belongs to them."""
    ase.io.write(path, list(frames))
    return path
