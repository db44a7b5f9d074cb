"""How close atoms come in the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ase.data import atomic_numbers
from ase.data.vdw_alvarez import vdw_radii

from mlip_train.neighbours import neighbours
from mlip_train.priors import by_pair, pairs_of
from mlip_train.reference import contact_distance
from mlip_train.structures import Structure

__all__ = ["closest_approaches"]


def closest_approaches(structures: Iterable[Structure], elements: Sequence[str]) -> dict[str, float]:
    """The shortest distance (Å) of every pair of elements, in structures or, if they never meet, by their size.

    A pair meets where two atoms are within the sum of their van der Waals radii (Alvarez, Dalton Trans. 2013,
    8617). Of a pair that never does, nothing is known, and the sum of the covalent radii is returned.
    """
    reach = {pair: _reach(pair) for pair in pairs_of(elements)}
    shortest = dict(reach)
    for structure in structures:
        first, second, distances, _ = neighbours(structure.to_atoms(), max(reach.values()))
        for pair, members in by_pair(structure.numbers[first], structure.numbers[second]).items():
            shortest[pair] = min(shortest[pair], float(distances[members].min()))
    return {pair: r if r < reach[pair] else contact_distance(pair) for pair, r in shortest.items()}


def _reach(pair: str) -> float:
    radii = [float(vdw_radii[atomic_numbers[element]]) for element in pair.split("-")]
    return 2 * contact_distance(pair) if np.isnan(radii).any() else sum(radii)
