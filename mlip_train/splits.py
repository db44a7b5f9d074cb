"""Which structures are kept for testing: decided once per structure, from its hash."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = ["Split", "assign_splits"]

Split = Literal["train", "test"]


def assign_splits(
    new: Sequence[tuple[str, str]],
    stored: Mapping[tuple[str, Split], int],
    fraction: float,
) -> dict[str, Split]:
    """Choose the test structures among new ones so that each stratum approaches its share.

    Parameters
    ----------
    new : sequence of (structure_id, stratum)
        Structures that enter the dataset.
    stored : mapping of (stratum, split) to int
        How many structures the dataset already holds.
    fraction : float
        Share of all structures (stored and new) that should be test structures.

    Returns
    -------
    dict of structure_id to split
        Independent of the order of `new`: within a stratum the smallest hashes become test
        structures, and a hash is as good as a random number.
    """
    quotas = _test_quotas(new, stored, fraction)
    test: set[str] = set()
    for stratum, quota in quotas.items():
        test.update(sorted(identifier for identifier, s in new if s == stratum)[:quota])
    return {identifier: "test" if identifier in test else "train" for identifier, _ in new}


def _test_quotas(
    new: Sequence[tuple[str, str]], stored: Mapping[tuple[str, Split], int], fraction: float
) -> dict[str, int]:
    """How many new test structures each stratum gets, by the largest-remainder method."""
    arriving = Counter(stratum for _, stratum in new)
    already = {stratum: stored.get((stratum, "test"), 0) for stratum in arriving}
    ideal = {
        stratum: fraction * (count + already[stratum] + stored.get((stratum, "train"), 0))
        for stratum, count in arriving.items()
    }
    # At most half of what arrives, so that a batch always has something to learn from.
    most = {stratum: math.ceil(count / 2) for stratum, count in arriving.items()}
    quotas = {s: min(max(math.floor(ideal[s]) - already[s], 0), most[s]) for s in arriving}
    n_stored, n_stored_test = sum(stored.values()), sum(n for (_, split), n in stored.items() if split == "test")
    total = n_stored + len(new)
    wanted = round(fraction * total)
    if fraction > 0 and total >= 2:
        wanted = max(wanted, 1)  # without a single test structure nothing can be judged
    missing = wanted - n_stored_test - sum(quotas.values())
    by_remainder = sorted(arriving, key=lambda s: (quotas[s] + already[s] - ideal[s], s))
    for stratum in by_remainder:
        if missing > 0 and quotas[stratum] < most[stratum] and len(new) > 1:
            quotas[stratum] += 1
            missing -= 1
    return quotas
