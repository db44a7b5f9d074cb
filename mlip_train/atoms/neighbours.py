"""Pairs of atoms within a distance, in any cell."""

from typing import Any

import ase.neighborlist
import matscipy.neighbours
import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mlip_train.base.arrays import FloatArray

__all__ = ["nearest_neighbour_distances", "neighbours"]


def neighbours(
    atoms: Atoms, cutoff: float
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], FloatArray, FloatArray]:
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


def nearest_neighbour_distances(atoms: Atoms, cutoff: float) -> FloatArray:
    """Distance (Å) from each atom to its nearest neighbour, infinite beyond `cutoff`; shape (n,)."""
    nearest = np.full(len(atoms), np.inf)
    if atoms.pbc.all():
        first, distance = matscipy.neighbours.neighbour_list("id", atoms, float(cutoff))
        np.minimum.at(nearest, first, distance)
    elif len(atoms) > 1:
        distance, _ = cKDTree(atoms.positions).query(atoms.positions, k=2, distance_upper_bound=cutoff)
        nearest = distance[:, 1]
    return nearest
