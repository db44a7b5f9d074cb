"""How close atoms come in the data."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlip_train.atoms.neighbours import neighbours
from mlip_train.atoms.pairs import by_pair, contact_distance, pairs_of
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray

__all__ = ["Approach", "Collision", "closest_approaches"]


@dataclass(frozen=True)
class Collision:
    """Two neighbours in a structure, which can be pushed together."""

    structure: Structure
    first: int
    second: int
    vector: FloatArray  # (3,), Å, from first to second

    def __str__(self) -> str:
        return f"{self.structure.source} frame {self.structure.frame}"

    @property
    def distance(self) -> float:
        """Distance of the two in Å."""
        return float(np.linalg.norm(self.vector))

    def at(self, r: float) -> Atoms:
        """The structure with the two at distance r (Å), around the same centre."""
        atoms = self.structure.to_atoms()
        push = 0.5 * (1 - r / self.distance) * self.vector
        atoms.positions[self.first] += push
        atoms.positions[self.second] -= push
        return atoms


@dataclass(frozen=True)
class Approach:
    """How close two elements come in the data."""

    pair: str
    shortest: float = math.inf  # Å; infinite where they never meet
    collision: Collision | None = None  # where they are closest; None if never, or an atom and its own image

    @property
    def edge(self) -> float:
        """The distance (Å) below which nothing is known.

        Of elements that meet only far apart, or never, it is the sum of their covalent radii.
        """
        return min(self.shortest, contact_distance(self.pair))


def closest_approaches(
    structures: Iterable[Structure], elements: Sequence[str], reach: float
) -> dict[str, Approach]:
    """The closest approach of every pair of elements.

    Parameters
    ----------
    structures : iterable of Structure
        The data.
    elements : sequence of str
        Elements of the campaign.
    reach : float
        How far to look, in Å: the cutoff, beyond which no potential has learned anything.
    """
    found = {pair: Approach(pair) for pair in pairs_of(elements)}
    for structure in structures:
        first, second, distances, vectors = neighbours(structure.to_atoms(), reach)
        for pair, members in by_pair(structure.numbers[first], structure.numbers[second]).items():
            nearest = members[distances[members].argmin()]
            if distances[nearest] < found[pair].shortest:
                one, other = int(first[nearest]), int(second[nearest])
                collision = Collision(structure, one, other, vectors[nearest]) if one != other else None
                found[pair] = Approach(pair, float(distances[nearest]), collision)
    return found
