from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from ase import Atoms
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlip_train.atoms.structure import Structure
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.campaign.splits import assign_splits
from mlip_train.records.manifest import Split
from tests.mlip_train.frames import crystal, structure

Batch = list[tuple[str, str]]
Stored = Counter[tuple[str, Split]]
fractions = st.floats(0.01, 0.5) | st.sampled_from([0.1, 0.2, 0.25, 0.5])


@st.composite
def batches(draw: st.DrawFn, min_size: int = 0) -> Batch:
    strata = draw(st.lists(st.sampled_from("abcdef"), min_size=min_size, max_size=60))
    salt = draw(st.integers(0, 10**9))
    return [(hashlib.sha256(f"{salt}/{n}".encode()).hexdigest(), stratum) for n, stratum in enumerate(strata)]


def count_tests(splits: dict[str, Split]) -> int:
    return sum(split == "test" for split in splits.values())


def store(stored: Stored, batch: Batch, fraction: float) -> dict[str, Split]:
    splits = assign_splits(batch, stored, fraction)
    stored.update((stratum, splits[identifier]) for identifier, stratum in batch)
    return splits


@given(batches(), fractions, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order(batch: Batch, fraction: float, chance: random.Random) -> None:
    shuffled = batch.copy()
    chance.shuffle(shuffled)
    splits = assign_splits(batch, {}, fraction)
    assert splits == assign_splits(shuffled, {}, fraction)
    assert splits.keys() == {identifier for identifier, _ in batch}


@given(batches(min_size=2), fractions)
def test_the_share_of_a_first_batch_is_the_fraction_rounded(batch: Batch, fraction: float) -> None:
    assert count_tests(assign_splits(batch, {}, fraction)) == max(round(fraction * len(batch)), 1)


@given(batches(), fractions)
def test_each_stratum_gets_its_share(batch: Batch, fraction: float) -> None:
    splits = assign_splits(batch, {}, fraction)
    tests = Counter(stratum for identifier, stratum in batch if splits[identifier] == "test")
    for stratum, count in Counter(stratum for _, stratum in batch).items():
        assert abs(tests[stratum] - fraction * count) <= 1


def test_strata_are_not_left_to_chance() -> None:
    batch = [(hashlib.sha256(bytes([n])).hexdigest(), "ab"[n >= 80]) for n in range(100)]
    splits = assign_splits(batch, {}, 0.1)
    assert Counter(stratum for identifier, stratum in batch if splits[identifier] == "test") == {"a": 8, "b": 2}


@given(st.lists(batches(min_size=2), min_size=1, max_size=8), fractions)
def test_the_share_holds_over_many_batches(many: list[Batch], fraction: float) -> None:
    stored: Stored = Counter()
    for batch in many:
        store(stored, [(identifier, "") for identifier, _ in batch], fraction)
        assert abs(stored["", "test"] - fraction * stored.total()) <= 1


@given(st.lists(batches(min_size=2), min_size=1, max_size=8), fractions)
def test_each_stratum_keeps_its_share_over_many_batches(many: list[Batch], fraction: float) -> None:
    stored: Stored = Counter()
    for batch in many:
        store(stored, batch, fraction)
    for stratum in {stratum for stratum, _ in stored}:
        tests, total = stored[stratum, "test"], stored[stratum, "test"] + stored[stratum, "train"]
        assert abs(tests - fraction * total) < 2


@example([[("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")], [("5", "c"), ("6", "d")]], 0.5)
@given(st.lists(batches(min_size=1), min_size=1, max_size=8), fractions)
def test_a_batch_always_leaves_something_to_learn_from(many: list[Batch], fraction: float) -> None:
    stored: Stored = Counter()
    for batch in many:
        assert "train" in store(stored, batch, fraction).values()


def test_a_larger_fraction_later_takes_no_more_than_half_of_a_batch() -> None:
    batch = [(f"{n:02d}", "a") for n in range(10)]
    splits = assign_splits(batch, {("a", "train"): 1000}, 0.5)
    assert count_tests(splits) == 5


def test_single_structures_are_learned_until_a_share_is_due() -> None:
    stored: Stored = Counter()
    for number in range(9):
        assert store(stored, [(str(number), "a")], 0.1) == {str(number): "train"}


@given(batches(), st.integers(0, 50))
def test_a_fraction_of_zero_gives_no_tests(batch: Batch, n_stored: int) -> None:
    assert count_tests(assign_splits(batch, {("a", "train"): n_stored}, 0)) == 0


def test_even_a_tiny_fraction_gives_one_test() -> None:
    assert count_tests(assign_splits([("1", "a"), ("2", "a")], {}, 0.01)) == 1
    assert count_tests(assign_splits([("1", "a")], {}, 0.5)) == 0


@pytest.mark.parametrize("n_stored_tests", [30, 100])
def test_too_many_stored_tests_are_made_up_for(n_stored_tests: int) -> None:
    batch = [(f"{n:03d}", "a") for n in range(100)]
    assert count_tests(assign_splits(batch, {("a", "test"): n_stored_tests}, 0.1)) == 0


def test_the_stratum_that_is_owed_most_comes_first() -> None:
    batch = [(f"{n:02d}", "ab"[n % 2]) for n in range(20)]
    stored: Stored = Counter({("a", "train"): 10, ("a", "test"): 1, ("b", "train"): 98, ("b", "test"): 2})
    splits = assign_splits(batch, stored, 0.1)
    assert Counter(stratum for identifier, stratum in batch if splits[identifier] == "test")["b"] >= 8


def test_test_structures_are_chosen_by_hash() -> None:
    batch = [(f"{n:02d}", "a") for n in range(20)]
    splits = assign_splits(batch, {}, 0.1)
    assert [identifier for identifier, split in splits.items() if split == "test"] == ["00", "01"]


@settings(max_examples=10)
@given(
    cuts=st.lists(st.integers(1, 29), max_size=4, unique=True),
    fraction=st.sampled_from([0.1, 0.3, 0.5]),
    stratified=st.booleans(),
)
def test_a_stored_structure_never_changes_its_split(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], fraction: float, stratified: bool
) -> None:
    directory = tmp_path_factory.mktemp("store")
    pool = thirty_structures()
    before: list[tuple[str, Split]] = []
    edges = [0, *sorted(cuts), 30]
    for generation, (start, stop) in enumerate(pairwise(edges), 1):
        dataset = DatasetStore(directory)
        batch = dataset.sort_out(pool[:stop]).new
        assert len(batch) == stop - start
        dataset.append(batch, dataset.splits_for(batch, fraction, stratified), generation, {"Si": 0.0}, 5.5)
        after = [(item.structure.structure_id, item.split) for item in DatasetStore(directory).iterate()]
        assert after[: len(before)] == before
        assert len(after) == stop
        before = after
    assert dataset.count("test") == sum(split == "test" for _, split in before)
    assert math.floor(fraction * 30) - 3 <= dataset.count("test") <= math.ceil(fraction * 30) + 3


def thirty_structures() -> Sequence[Structure]:
    frames: list[Atoms] = [crystal(a=5.3 + 0.01 * n) for n in range(30)]
    for number, atoms in enumerate(frames):
        atoms.info["config_type"] = "abc"[number % 3]
    return [structure(atoms) for atoms in frames]
