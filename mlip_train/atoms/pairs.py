"""Pairs of elements, and how close their atoms usually come."""

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii, missing
from numpy.typing import NDArray

__all__ = ["by_pair", "contact_distance", "pair_name", "pairs_of"]

_LARGE: Final = 1.69  # Å, covalent radius of curium


def pair_name(one: str, other: str) -> str:
    """The key of a pair of elements: 'Al-Ni', whichever comes first."""
    return "-".join(sorted((one, other)))


def pairs_of(elements: Iterable[str]) -> list[str]:
    """List all pairs of elements, each once."""
    return [pair_name(*pair) for pair in combinations_with_replacement(sorted(set(elements)), 2)]


def by_pair(first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.intp]]:
    """Where in a list of neighbours each pair of elements is, whichever of the two comes first."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    numbers, members = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    names = [pair_name(*(chemical_symbols[number] for number in column)) for column in numbers.T]
    return {name: np.flatnonzero(members.reshape(-1) == place) for place, name in enumerate(names)}


def contact_distance(pair: str) -> float:
    """Sum of the covalent radii of a pair in Å (Cordero et al., Dalton Trans. 2008, 2832).

    Protactinium and what comes after curium, of which none is known, are taken to be as large as curium.
    """
    radii = [float(covalent_radii[atomic_numbers[element]]) for element in pair.split("-")]
    return sum(_LARGE if radius == missing else radius for radius in radii)
