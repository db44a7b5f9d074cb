"""Work on many structures, chunk by chunk, on as many cores as there are."""

import copy
import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol, Self, TypeVar

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

__all__ = ["CHUNK", "Summed", "Tool", "in_chunks", "made", "over_chunks", "sum_over_chunks"]

T = TypeVar("T")
R = TypeVar("R")
Made = TypeVar("Made", covariant=True)

CHUNK: Final = 16  # structures that a worker takes at once
_AT_ONCE: Final = 4  # chunks per worker that are on their way
_BRANCHES: Final = 8  # sums that a cluster adds up at a time
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
        for window in in_chunks(chain([following], remaining), _AT_ONCE * effective_n_jobs(-1)):
            yield from pool(delayed(_on_chunk)(work, tool, chunk) for chunk in window)


class Summed(Protocol):
    """What can be added up."""

    def add(self, other: Self, /) -> None:
        """Add another one to this."""
        ...


S = TypeVar("S", bound=Summed)


def sum_over_chunks(
    work: Callable[[Made, list[T]], S],
    tool: Tool[Made],
    chunks: Iterable[tuple[int, list[T]]],
    totals: Sequence[S],
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Add up what `work` makes of each chunk, into the total that is named with it; return the number of items.

    Each chunk is summed where it is computed; see `over_chunks` for where that is. The order of additions
    does not depend on which process is fast. Workers of a Dask cluster add up their sums among themselves, so that
    only one per total comes here.
    """
    client = getattr(get_active_backend()[0], "client", None)
    if client is not None:
        return _sum_on_cluster(client, work, tool, chunks, totals, on_progress)
    on_their_way: deque[tuple[int, int]] = deque()

    def noted() -> Iterator[list[T]]:
        for number, chunk in chunks:
            on_their_way.append((number, len(chunk)))
            yield chunk

    done = 0
    for part in over_chunks(work, tool, noted()):
        number, size = on_their_way.popleft()
        totals[number].add(part)
        done += size
        on_progress(done)
    return done


def _sum_on_cluster(
    client: Any,
    work: Callable[[Made, list[T]], S],
    tool: Tool[Made],
    chunks: Iterable[tuple[int, list[T]]],
    totals: Sequence[S],
    on_progress: Callable[[int], None],
) -> int:
    trees: list[list[list[Any]]] = [[] for _ in totals]  # of each total, futures of sums by their height
    on_their_way: deque[tuple[Any, int]] = deque()
    done, most = 0, _AT_ONCE * effective_n_jobs(-1)

    def wait_for_first() -> None:
        nonlocal done
        future, size = on_their_way.popleft()
        if future.exception() is not None:
            future.result()  # raises it
        done += size
        on_progress(done)

    for number, chunk in chunks:
        future = client.submit(_on_chunk, work, tool, chunk, pure=False)
        on_their_way.append((future, len(chunk)))
        _grow(client, trees[number], future, 0)
        if len(on_their_way) >= most:
            wait_for_first()
    while on_their_way:
        wait_for_first()
    for total, tree in zip(totals, trees, strict=True):
        if rest := [future for height in reversed(tree) for future in height]:
            total.add(client.submit(_added, rest, pure=False).result())
    return done


def _grow(client: Any, tree: list[list[Any]], future: Any, height: int) -> None:
    """Hang a sum into the tree; as soon as there are enough of a height, they become one of the next."""
    if len(tree) == height:
        tree.append([])
    tree[height].append(future)
    if len(tree[height]) == _BRANCHES:
        together = client.submit(_added, tree[height], pure=False)
        tree[height] = []
        _grow(client, tree, together, height + 1)


def _added(parts: list[S]) -> S:
    first, *others = parts
    total = copy.deepcopy(first)  # Dask may need it again
    for other in others:
        total.add(other)
    return total


def _on_chunk(work: Callable[[Made, list[T]], R], tool: Tool[Made], chunk: list[T]) -> R:
    return work(made(tool), chunk)


@functools.lru_cache(maxsize=1)
def made(tool: Tool[Any]) -> Any:
    """What a tool makes; once per process, as long as no other takes its place."""
    return tool.make()
