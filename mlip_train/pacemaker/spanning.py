"""Offering structures to an active set until it spans them all, and ranking them by what they add."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_train.pacemaker.active_set import ActiveSet
from mlip_train.pacemaker.bbasis import load_bbasis
from mlip_train.pacemaker.projections import Projector, in_chunks, over_chunks
from mlip_train.structures import Structure

__all__ = ["Rank", "largest_grades", "projection_fingerprint", "rank", "span"]

FloatArray = NDArray[np.float64]
Structures = Callable[[], Iterable[Structure]]  # returns the stream anew

_MOST_PASSES: Final = 8
_WORTH_SHARING: Final = 64  # chunks, of about 0.1 s each


@dataclass(frozen=True)
class Rank:
    """Where a structure comes in the order of what it adds to the active set."""

    round: int  # 1: of the active set; 2: of the active set of all others; ...
    active_atoms: int


def projection_fingerprint(bbasis: Path) -> str:
    """SHA-256 of what projections depend on: functions, radial functions and cutoffs; no coefficients."""
    content = [
        [
            block.block_name,
            [block.rcutij, block.dcutij, block.radbase, list(block.radparameters)],
            [float(f"{value:.10g}") for value in np.ravel(block.radcoefficients)],
            [[*map(list, (f.elements, f.ns, f.ls, f.LS))] for f in block.funcspecs],
        ]
        for block in load_bbasis(bbasis).funcspecs_blocks
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def span(
    active: ActiveSet,
    bbasis: Path,
    structures: Structures,
    on_progress: Callable[[int], None] = lambda done: None,
    most_passes: int = _MOST_PASSES,
) -> dict[str, float]:
    """Offer structures, again and again, until the active set spans them all.

    Parameters
    ----------
    active : ActiveSet
        Grows; rows that it has already count with the rest.
    bbasis : Path
        The B-basis to project with.
    structures : callable
        Returns the stream anew; memory does not grow with its length.
    on_progress : callable
        Called with the number of structures projected so far.
    most_passes : int
        Readings of the stream at most.

    Returns
    -------
    dict of element to float
        The largest extrapolation grade left in the last reading.
    """
    done = 0
    left: dict[str, float] = {}
    for _ in range(most_passes):
        left = {}
        for n, rows, members in over_chunks(_rows_of, bbasis, in_chunks(structures()), _WORTH_SHARING):
            for element, grade in active.offer(rows, members).items():
                left[element] = max(left.get(element, 0.0), grade)
            done += n
            on_progress(done)
        if max(left.values(), default=0.0) <= active.tolerance:
            break
    return left


def largest_grades(active: ActiveSet, bbasis: Path, structures: Iterable[Structure]) -> dict[str, float]:
    """The largest extrapolation grade per element of structures that are not taken in."""
    largest: dict[str, float] = {}
    for _, rows, _ in over_chunks(_rows_of, bbasis, in_chunks(structures), _WORTH_SHARING):
        for element, grades in active.grades(rows).items():
            largest[element] = max(largest.get(element, 0.0), float(grades.max()))
    return largest


def rank(
    active: ActiveSet,
    bbasis: Path,
    structures: Structures,
    wanted: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Rank]:
    """Rank structures: those of the active set first, then those of the active set of the others, and so on.

    Parameters
    ----------
    active : ActiveSet
        Spans the structures already; the first round.
    wanted : int
        Stop when this many are ranked, or all.

    Returns
    -------
    dict of structure_id to Rank
        In order; within a round by the number of active atoms.
    """
    order = _ordered(active, 1)
    current, number = active, 1
    while len(order) < wanted:
        current, number = ActiveSet(active.n_functions, active.tolerance), number + 1
        others = partial(_without, structures, frozenset(order))
        seen = span(current, bbasis, others, on_progress, most_passes=1)
        if not seen:
            break  # all are ranked
        order |= _ordered(current, number)
    return order


def _without(structures: Structures, ids: frozenset[str]) -> Iterator[Structure]:
    return (structure for structure in structures() if structure.structure_id not in ids)


def _ordered(active: ActiveSet, number: int) -> dict[str, Rank]:
    counts = sorted(active.active_atoms().items(), key=lambda item: (-item[1], item[0]))
    return {structure_id: Rank(number, count) for structure_id, count in counts}


def _rows_of(
    projector: Projector, chunk: list[Structure]
) -> tuple[int, Mapping[str, FloatArray], Mapping[str, list[str]]]:
    rows: dict[str, list[FloatArray]] = {element: [] for element in projector.elements}
    members: dict[str, list[str]] = {element: [] for element in projector.elements}
    for structure in chunk:
        for element, projected in projector.project(structure).items():
            rows[element].append(projected)
            members[element] += [structure.structure_id] * len(projected)
    return len(chunk), {element: np.vstack(parts) for element, parts in rows.items()}, members
