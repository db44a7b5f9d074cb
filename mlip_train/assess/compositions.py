"""Of each composition in the data the structure that a check looks at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlip_train.atoms.pairs import contact_distance
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray

__all__ = ["Found", "best_by_composition", "energy_per_atom", "is_bulk"]

Rank = tuple[Any, ...]

_KEPT: Final = 1000  # compositions held in memory; random alloys have as many as structures
_VACUUM: Final = 3.0  # Å beyond contact; layers that van der Waals forces bind are 2 Å beyond (graphite, MoS2)


@dataclass
class Found:
    """A reduced composition, how often it occurs, and its first structure by rank."""

    composition: str
    best: Structure
    rank: Rank
    count: int = 1


def best_by_composition(structures: Iterable[Structure], rank: Callable[[Structure], Rank | None]) -> list[Found]:
    """Per reduced composition the structure of the lowest rank, the most frequent composition first.

    Parameters
    ----------
    structures : iterable of Structure
        Streamed; at most about a thousand are held at a time. Of more compositions the rarest are forgotten (lossy
        counting: Manku and Motwani, VLDB 2002).
    rank : callable
        What to sort by; None leaves the structure out.
    """
    found: dict[str, Found] = {}
    for structure in structures:
        if (its_rank := rank(structure)) is None:
            continue
        composition = structure.composition
        if (before := found.get(composition)) is None:
            if len(found) == _KEPT:
                found = {one.composition: one for one in _most_frequent(found)[: _KEPT // 2]}
            found[composition] = Found(composition, structure, its_rank)
            continue
        before.count += 1
        if its_rank < before.rank:
            before.best, before.rank = structure, its_rank
    return _most_frequent(found)


def energy_per_atom(structure: Structure) -> float:
    """DFT energy in eV/atom to a meV, so that noise does not prefer a large cell to a small one."""
    return round(structure.energy / len(structure.numbers), 3)


def is_bulk(structure: Structure) -> bool:
    """Whether a structure fills space, which a molecule, a wire or a surface in a periodic box does not.

    Those leave a layer free of atoms between two of their images. Such a layer is parallel to two of the lattice
    vectors, so the gaps between the fractional coordinates along the third show it. It counts as vacuum when atoms
    on its two sides are too far apart even for van der Waals forces to bind them.
    """
    if not structure.pbc.all():
        return False
    touching = max(contact_distance(f"{symbol}-{symbol}") for symbol in set(structure.symbols))
    return bool(_widest_gaps(structure).max() <= touching + _VACUUM)


def _widest_gaps(structure: Structure) -> FloatArray:
    """Along each lattice vector the widest layer without atoms, in Å; shape (3,)."""
    inverse = np.linalg.inv(structure.cell)
    fractional = np.sort(structure.positions @ inverse % 1.0, axis=0)
    gaps = np.diff(fractional, axis=0, append=fractional[:1] + 1.0)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)  # Å, between opposite faces of the cell
    return np.asarray(gaps.max(axis=0) * heights)


def _most_frequent(found: dict[str, Found]) -> list[Found]:
    return sorted(found.values(), key=lambda one: (-one.count, one.composition))
