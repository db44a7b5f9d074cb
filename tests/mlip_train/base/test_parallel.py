from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import joblib
import pytest

from mlip_train.base.parallel import in_chunks, sum_over_chunks


def test_chunks_are_read_no_further_than_needed() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    first = next(in_chunks(items(), 7))
    assert first == read == list(range(7))


class Words:
    """A sum of words, which says in which order they came."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def add(self, other: Words) -> None:
        self.text += other.text


@dataclass(frozen=True)
class Nothing:
    def make(self) -> None:
        return None


def joined(made: None, chunk: list[str]) -> Words:
    return Words("".join(chunk))


def test_each_chunk_is_added_to_its_total_in_order() -> None:
    told: list[int] = []
    totals = [Words(), Words()]
    chunks = ((number % 2, list(f"{number}-")) for number in range(7))
    assert sum_over_chunks(joined, Nothing(), chunks, totals, told.append) == 14
    assert [total.text for total in totals] == ["0-2-4-6-", "1-3-5-"]
    assert told == [2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize("n", [0, 1, 8, 75])
def test_workers_of_a_cluster_add_up_among_themselves(n: int) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as client,
        client.as_current(),
        joblib.parallel_config(backend="dask"),
    ):
        totals = [Words(), Words(), Words()]
        chunks = ((number % 2, [f"{number} "]) for number in range(n))
        assert sum_over_chunks(joined, Nothing(), chunks, totals) == n
    for remainder, total in enumerate(totals[:2]):
        assert total.text == "".join(f"{number} " for number in range(n) if number % 2 == remainder)
    assert totals[2].text == ""


def test_an_error_on_a_cluster_is_raised_here() -> None:
    distributed = pytest.importorskip("distributed")

    def fails(made: None, chunk: list[str]) -> Words:
        raise ValueError(f"cannot join {chunk}")

    with (
        distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client,
        client.as_current(),
        joblib.parallel_config(backend="dask"),
        pytest.raises(ValueError, match="cannot join"),
    ):
        sum_over_chunks(fails, Nothing(), [(0, ["a"])], [Words()])
