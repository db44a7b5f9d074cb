"""Choosing by maxvol which training structures a fit learns from."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mlip_train.ace.active_set import ActiveSet
from mlip_train.ace.projections import Projector
from mlip_train.ace.spanning import projection_fingerprint, rank, span
from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import DatasetStore, IndexRow
from mlip_train.campaign.fit_plan import Groundwork
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.fit import ActiveSetRule

__all__ = ["Choice", "choose", "keep_active_set"]

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


def choose(campaign: Campaign, ground: Groundwork, on_progress: Progress) -> Choice:
    """Choose training structures by what their atoms add to the active set, which is kept for the next generation.

    Parameters
    ----------
    campaign : Campaign
        Whose structures; it also has the active set of the current potential.
    ground : Groundwork
        The basis to project with, and how many structures are wanted.
    on_progress : callable
        Called with the number of structures projected so far.
    """
    rule, run, store, choice = ground.config.active_set, ground.run, campaign.store, Choice()
    last_fitted = ground.parent.generation if ground.parent else 0
    before = campaign.generation(last_fitted).active_set
    active = _active_set(store, rule, run.basis, last_fitted, before, choice, on_progress)
    active.covers = ground.generation
    keep_active_set(run, active, run.basis)
    choice.log_volume = active.log_volume()
    if missing := active.missing():
        counts = ", ".join(f"{count} of {active.n_functions[e]} for {e}" for e, count in missing.items())
        choice.notes.append(f"too few different atoms for all functions (functions without one: {counts})")
    index = list(store.index("train"))
    wanted = _to_rank(rule, index, last_fitted)
    order = rank(active, run.basis, partial(_since, store, 0), wanted, choice.counter(on_progress))
    choice.ids = _pick(rule, index, order, last_fitted)
    n_kept = sum(row.config_type in rule.keep for row in index)
    if rule.max_structures is not None and n_kept > rule.max_structures:
        choice.notes.append(f"of {n_kept} structures that keep names, max_structures leaves {rule.max_structures}")
    if max(choice.gamma_after.values(), default=0.0) > rule.gamma_tolerance:
        choice.notes.append("the search for the active set ended above gamma_tolerance")
    return choice


def keep_active_set(run: GenerationDirectory, active: ActiveSet, bbasis: Path) -> None:
    """Keep an active set with what its projections depend on, for the next generation to go on with."""
    active.save(run.active_set, projection_fingerprint(bbasis))


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
