"""Offering structures to an active set until it spans them all, and ranking them by what they add."""

import contextlib
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

import numpy as np

from mlip_train.ace.active_set import ActiveSet
from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.projections import BBasisFile, Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.files import hash_of
from mlip_train.base.parallel import in_chunks, over_chunks

__all__ = ["Spanned", "projection_fingerprint", "rank", "span"]

Structures = Callable[[], Iterable[Structure]]  # returns the stream anew

_MOST_PASSES: Final = 8
_ROUGH_PASSES: Final = 2
_OFFERED_AT_ONCE: Final = 4  # chunks


@dataclass(frozen=True)
class Spanned:
    """The largest extrapolation grades per element among the offered structures."""

    before: dict[str, float]  # to the active set as it was; infinite where it had no atom
    left: dict[str, float]  # in the last pass


def projection_fingerprint(bbasis: Path) -> str:
    """SHA-256 of what projections depend on: functions, radial functions and cutoffs; no coefficients."""
    content = [
        [
            block.block_name,
            [block.rcutij, block.dcutij, block.NameOfCutoffFunctionij, block.radbase, list(block.radparameters)],
            [float(f"{value:.10g}") for value in np.ravel(block.radcoefficients)],
            sorted([*map(list, (f.elements, f.ns, f.ls, f.LS))] for f in block.funcspecs),
        ]
        for block in sorted(load_bbasis(bbasis).funcspecs_blocks, key=lambda block: str(block.block_name))
    ]
    return hash_of(content)


def span(
    active: ActiveSet,
    bbasis: Path,
    structures: Structures,
    on_progress: Callable[[int], None] = lambda done: None,
    most_passes: int = _MOST_PASSES,
) -> Spanned:
    """Offer structures, again and again, until the active set spans them all.

    Each is projected once: the projections wait for the later passes in a temporary file beside the
    B-basis, so that memory does not grow with their number.

    Parameters
    ----------
    active : ActiveSet
        Grows; rows that it has already count with the rest.
    bbasis : Path
        The B-basis to project with.
    structures : callable
        Returns the stream anew.
    on_progress : callable
        Called with the number of structures projected so far.
    most_passes : int
        Passes over the stream at most.
    """
    before, grades_before = active.grader(), _Largest()
    left, done = _Largest(), 0
    with tempfile.TemporaryFile(dir=bbasis.parent) as kept:  # not in /tmp, which may be memory
        for number in range(most_passes):
            left = _Largest()
            for chunk in _project(bbasis, structures()) if number == 0 else _read(kept):
                n, rows, members = chunk
                if number == 0:
                    grades_before.add({e: float(grades.max()) for e, grades in before(rows).items()})
                    done += n
                    on_progress(done)
                    if most_passes > 1:
                        pickle.dump(chunk, kept, protocol=pickle.HIGHEST_PROTOCOL)
                left.add(active.offer(rows, members, again=number < _ROUGH_PASSES < most_passes))
            if max(left.values(), default=0.0) <= active.tolerance:
                break  # in the first pass, too: then not one row was taken in
    return Spanned(dict(grades_before), dict(left))


def rank(
    active: ActiveSet,
    bbasis: Path,
    structures: Structures,
    wanted: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Rank structures: those of the active set first, then those of the active set of the others, and so on.

    Parameters
    ----------
    active : ActiveSet
        Spans the structures already; the first round.
    wanted : int
        Stop when this many are ranked, or all.

    Returns
    -------
    dict of structure_id to int
        The round that each is ranked in (1: of the active set; 2: of the active set of all others; ...), in
        order; within a round by the number of active atoms.
    """
    order = _ordered(active, 1)
    current, number = active, 1
    while len(order) < wanted:
        current, number = ActiveSet(active.n_functions, active.tolerance), number + 1
        others = partial(_without, structures, frozenset(order))
        span(current, bbasis, others, on_progress, most_passes=1)
        ranked = _ordered(current, number)
        if not ranked:
            break  # none is left, or only atoms without a single projection
        order |= ranked
    return order


class _Largest(dict[str, float]):
    """The largest value seen per element."""

    def add(self, values: Mapping[str, float]) -> None:
        for element, value in values.items():
            self[element] = max(self.get(element, 0.0), value)


_Chunk = tuple[int, Mapping[str, FloatArray], Mapping[str, list[str]]]


def _read(kept: IO[bytes]) -> Iterator[_Chunk]:
    kept.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            yield pickle.load(kept)


def _project(bbasis: Path, structures: Iterable[Structure]) -> Iterator[_Chunk]:
    """Projections of many structures at a time: each offer costs a search through all rows that are kept."""
    for group in in_chunks(over_chunks(_rows_of, BBasisFile.of(bbasis), in_chunks(structures)), _OFFERED_AT_ONCE):
        counts, rows, members = zip(*group, strict=True)
        yield (
            sum(counts),
            {element: np.vstack([part[element] for part in rows]) for element in rows[0]},
            {element: [name for part in members for name in part[element]] for element in members[0]},
        )


def _without(structures: Structures, ids: frozenset[str]) -> Iterator[Structure]:
    return (structure for structure in structures() if structure.structure_id not in ids)


def _ordered(active: ActiveSet, number: int) -> dict[str, int]:
    counts = sorted(active.active_atoms().items(), key=lambda item: (-item[1], item[0]))
    return {structure_id: number for structure_id, _ in counts}


def _rows_of(projector: Projector, chunk: list[Structure]) -> _Chunk:
    rows: dict[str, list[FloatArray]] = {element: [] for element in projector.elements}
    members: dict[str, list[str]] = {element: [] for element in projector.elements}
    for structure in chunk:
        for element, projected in projector.project(structure).items():
            rows[element].append(projected)
            members[element] += [structure.structure_id] * len(projected)
    return len(chunk), {element: np.vstack(parts) for element, parts in rows.items()}, members
