from __future__ import annotations

from collections.abc import Iterator

from mlip_train.base.parallel import in_chunks


def test_chunks_are_read_no_further_than_needed() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    first = next(in_chunks(items(), 7))
    assert first == read == list(range(7))
