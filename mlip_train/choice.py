"""Choosing by maxvol which training structures a fit learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mlip_train.config import ActiveSetRule
from mlip_train.dataset import DatasetStore, IndexRow
from mlip_train.pacemaker.active_set import ActiveSet
from mlip_train.pacemaker.projections import Projector
from mlip_train.pacemaker.spanning import projection_fingerprint, rank, span
from mlip_train.structures import Structure

__all__ = ["Choice", "choose"]

Progress = Callable[[int], None]


@dataclass
class Choice:
    """Chosen structures, in the order of the dataset, and what was measured on the way."""

    ids: list[str] = field(default_factory=list)
    gamma_before: dict[str, float] = field(default_factory=dict)
    gamma_after: dict[str, float] = field(default_factory=dict)
    log_volume: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    projected: int = 0  # structures, counted every time

    def counter(self, on_progress: Progress) -> Progress:
        """Return a function that adds what a step has projected so far to what was projected before."""
        before = self.projected

        def count(done: int) -> None:
            self.projected = before + done
            on_progress(self.projected)

        return count


def choose(
    store: DatasetStore,
    rule: ActiveSetRule,
    bbasis: Path,
    generation: int,
    last_fitted: int,
    active_sets: tuple[Path, Path],
    on_progress: Progress,
) -> Choice:
    """Choose training structures by what their atoms add to the active set.

    Parameters
    ----------
    store : DatasetStore
        All structures.
    rule : ActiveSetRule
        How many, and which in any case.
    bbasis : Path
        The B-basis to project with.
    generation, last_fitted : int
        The generation to choose for; that of the current potential (0 before the first).
    active_sets : tuple of Path
        Where the active set of the current potential is, and where the new one goes.
    """
    choice = Choice()
    active = _active_set(store, rule, bbasis, last_fitted, active_sets[0], choice, on_progress)
    active.covers = generation
    active.save(active_sets[1], projection_fingerprint(bbasis))
    choice.log_volume = active.log_volume()
    if missing := active.missing():
        told = ", ".join(f"{count} of {active.n_functions[e]} for {e}" for e, count in missing.items())
        choice.notes.append(f"too few different atoms for all functions (functions without one: {told})")
    index = list(store.index("train"))
    order = rank(
        active, bbasis, partial(_since, store, 0), _to_rank(rule, index, last_fitted), choice.counter(on_progress)
    )
    choice.ids = _pick(rule, index, order, last_fitted)
    n_kept = sum(row.config_type in rule.keep for row in index)
    if rule.max_structures is not None and n_kept > rule.max_structures:
        choice.notes.append(f"of {n_kept} structures that keep names, max_structures leaves {rule.max_structures}")
    if max(choice.gamma_after.values(), default=0.0) > rule.gamma_tolerance:
        choice.notes.append("the search for the active set ended above gamma_tolerance")
    return choice


def _active_set(
    store: DatasetStore,
    rule: ActiveSetRule,
    bbasis: Path,
    last_fitted: int,
    before: Path,
    choice: Choice,
    on_progress: Progress,
) -> ActiveSet:
    """The active set of all training structures, grown from that of the current potential where possible."""
    active = ActiveSet.load(before, projection_fingerprint(bbasis)) if before.exists() else None
    if active is None or active.covers == 0 or active.tolerance != rule.gamma_tolerance:
        active = ActiveSet(Projector(bbasis).n_functions, rule.gamma_tolerance)
        if last_fitted:
            choice.notes.append("all structures projected anew, since basis or choice changed with the last fit")
    new = partial(_since, store, active.covers)
    spanned = span(active, bbasis, new, choice.counter(on_progress))
    choice.gamma_before = {e: grade for e, grade in spanned.before.items() if math.isfinite(grade)}
    choice.gamma_after = spanned.left
    return active


def _since(store: DatasetStore, generation: int) -> Iterator[Structure]:
    return (stored.structure for stored in store.iterate("train", after=generation))


def _to_rank(rule: ActiveSetRule, index: list[IndexRow], last_fitted: int) -> int:
    """How many structures must be ranked: no more than the active set if that is all that is asked for."""
    wanted = rule.max_structures or 0
    if isinstance(rule.replay, float):
        n_new = sum(row.generation > last_fitted for row in index)
        wanted = n_new + max(round(rule.replay * n_new), wanted)
    return min(wanted, len(index))


def _pick(rule: ActiveSetRule, index: list[IndexRow], order: dict[str, int], last_fitted: int) -> list[str]:
    kept = {row.structure_id for row in index if row.config_type in rule.keep}
    pool = kept | _after_replay(rule, index, order, last_fitted)
    if rule.method == "none":
        chosen = pool
    elif rule.max_structures is not None:
        position = {structure_id: place for place, structure_id in enumerate(order)}
        by_worth = sorted(pool, key=lambda i: (i not in kept, position.get(i, len(order)), i))
        chosen = set(by_worth[: rule.max_structures])
    else:
        chosen = {
            row.structure_id
            for row in index
            if row.structure_id in pool and (row.structure_id in kept or _is_active(row, order))
        }
    return [row.structure_id for row in index if row.structure_id in chosen]


def _after_replay(rule: ActiveSetRule, index: list[IndexRow], order: dict[str, int], last_fitted: int) -> set[str]:
    """Ids of the new structures, and of the older ones that may be learned from again."""
    new = {row.structure_id for row in index if row.generation > last_fitted}
    old = [row for row in index if row.generation <= last_fitted]
    if rule.replay == "active_set":
        old = [row for row in old if _is_active(row, order)]
    elif rule.replay != "all":
        position = {structure_id: place for place, structure_id in enumerate(order)}
        old.sort(key=lambda row: position.get(row.structure_id, len(order)))
        old = old[: round(rule.replay * len(new))]
    return new | {row.structure_id for row in old}


def _is_active(row: IndexRow, order: dict[str, int]) -> bool:
    return order.get(row.structure_id) == 1
