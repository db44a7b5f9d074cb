"""Pairs of atoms within a distance, in any cell."""

from __future__ import annotations

from typing import Any

import ase.neighborlist
import matscipy.neighbours
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

__all__ = ["neighbours"]


def neighbours(
    atoms: Atoms, cutoff: float
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], NDArray[np.float64], NDArray[np.float64]]:
    """All ordered pairs of atoms closer than a cutoff (Å).

    Returns
    -------
    tuple of arrays
        First and second atom (pairs,), distance (pairs,) in Å, and the vector (pairs, 3) from first to second.
    """
    # matscipy is much faster, but fails where atoms without a cell are in a line
    find = matscipy.neighbours.neighbour_list if atoms.pbc.all() else ase.neighborlist.neighbor_list
    first, second, distances, vectors = find("ijdD", atoms, float(cutoff))
    return first, second, distances, vectors
