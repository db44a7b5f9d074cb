"""Work on many structures, chunk by chunk, on as many cores as there are."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, Protocol, TypeVar

from joblib import Parallel, delayed, effective_n_jobs

__all__ = ["CHUNK", "Tool", "in_chunks", "over_chunks"]

T = TypeVar("T")
R = TypeVar("R")
Made = TypeVar("Made", covariant=True)

CHUNK: Final = 16  # structures that a worker takes at once
_WORTH_SHARING: Final = 8.0  # seconds of work, about twice what it takes to start a worker


class Tool(Protocol[Made]):
    """Makes what the work is done with, once per process; small, and equal when it makes the same."""

    def __hash__(self) -> int: ...
    def make(self) -> Made:
        """Load it."""
        ...


def in_chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Split into lists of at most `size`, reading no further than needed."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def over_chunks(work: Callable[[Made, list[T]], R], tool: Tool[Made], chunks: Iterable[list[T]]) -> Iterator[R]:
    """Yield what `work` makes of each chunk, in order.

    Other processes take seconds to start: this one does what it can in that time, and all if that is enough.
    Only a few chunks are in memory at a time. A joblib backend that the caller has chosen
    (`joblib.parallel_config`; Dask, for example) takes the place of local processes.
    """
    remaining, spent = iter(chunks), 0.0
    for chunk in remaining:
        began = time.process_time()
        result = _on_chunk(work, tool, chunk)
        spent += time.process_time() - began
        yield result
        if spent > _WORTH_SHARING:
            break
    following = next(remaining, None)
    if following is None:
        return
    with Parallel(n_jobs=-1, return_as="generator", batch_size=1) as pool:
        # joblib does not wait for whoever takes the results, so it gets a few chunks at a time
        for window in in_chunks(chain([following], remaining), 4 * effective_n_jobs(-1)):
            yield from pool(delayed(_on_chunk)(work, tool, chunk) for chunk in window)


def _on_chunk(work: Callable[[Made, list[T]], R], tool: Tool[Made], chunk: list[T]) -> R:
    return work(_made(tool), chunk)


@functools.lru_cache(maxsize=1)
def _made(tool: Tool[Any]) -> Any:
    return tool.make()
