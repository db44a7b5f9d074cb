"""Which structures are kept for testing: decided once per structure, from its hash."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence

from mlip_train.records.manifest import Split

__all__ = ["assign_splits"]


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
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for identifier, stratum in new:
        by_stratum[stratum].append(identifier)
    quotas = _test_quotas({stratum: len(members) for stratum, members in by_stratum.items()}, stored, fraction)
    test = {identifier for s, quota in quotas.items() for identifier in sorted(by_stratum[s])[:quota]}
    return {identifier: "test" if identifier in test else "train" for identifier, _ in new}


def _test_quotas(
    arriving: Mapping[str, int], stored: Mapping[tuple[str, Split], int], fraction: float
) -> dict[str, int]:
    """How many new test structures each stratum gets: one after the other to where most are missing."""
    n_new, n_stored = sum(arriving.values()), sum(stored.values())
    wanted = round(fraction * (n_new + n_stored))
    if fraction > 0 and n_new + n_stored >= 2:
        wanted = max(wanted, 1)  # without a single test structure nothing can be judged
    missing = wanted - sum(count for (_, split), count in stored.items() if split == "test")
    # At most half of what arrives, so that a batch always has something to learn from.
    missing = min(missing, n_new // 2)

    quotas = dict.fromkeys(arriving, 0)
    queue = []
    for stratum, count in arriving.items():
        train, test = stored.get((stratum, "train"), 0), stored.get((stratum, "test"), 0)
        queue.append((test - fraction * (train + test + count), stratum))
    heapq.heapify(queue)
    while missing > 0 and queue:
        surplus, stratum = heapq.heappop(queue)
        quotas[stratum] += 1
        missing -= 1
        if quotas[stratum] < arriving[stratum]:
            heapq.heappush(queue, (surplus + 1, stratum))
    return quotas
