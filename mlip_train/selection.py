"""Which stored structures a generation's fit learns from. The dataset keeps all of them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from mlip_train.campaign import Campaign
from mlip_train.config import ActiveSetRule
from mlip_train.dataset import DatasetStore, StoredStructure
from mlip_train.errors import TrainingFailedError
from mlip_train.files import write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.active_set import ActiveSet
from mlip_train.pacemaker.projections import Projector
from mlip_train.pacemaker.spanning import Rank, largest_grades, projection_fingerprint, rank, span
from mlip_train.potential import Potential
from mlip_train.starting import lay_basis
from mlip_train.structures import Structure

__all__ = ["Selection", "Share", "chosen_structures", "grade_potential", "select_structures"]

Progress = Callable[[int], None]


class Share(FrozenModel):
    """How many of how many structures."""

    chosen: int
    available: int

    def __str__(self) -> str:
        return f"{self.chosen} of {self.available}"


class Selection(FrozenModel):
    """What a fit learns from, in numbers; the structures themselves are listed in selection.json."""

    method: str
    structures: Share
    by_element: dict[str, Share]  # structures that hold the element
    by_config_type: dict[str, Share]
    identity: str  # SHA-256 of the chosen structures
    gamma_before: dict[str, float] = {}  # largest grade of the new structures to the potential before
    gamma_after: dict[str, float] = {}  # largest grade of any structure to the active set
    log_volume: dict[str, float] = {}  # ln |det A| of the active set
    notes: tuple[str, ...] = ()
    projected: int = 0  # structures, counted every time
    seconds: float = 0.0

    def __str__(self) -> str:
        grades = ""
        if self.gamma_after:
            before = f" (new structures to the potential before: {_largest(self.gamma_before)})"
            grades = f"; largest extrapolation grade {_largest(self.gamma_after)}"
            grades += before if self.gamma_before else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.structures} structures by {self.method}{grades}{notes}"


class _SelectionFile(FrozenModel):
    """The content of selection.json."""

    selection: Selection
    structures: tuple[str, ...]


def select_structures(campaign: Campaign, generation: int, on_progress: Progress = lambda done: None) -> Selection:
    """Choose the training structures of a generation and write selection.json.

    Projections are those of the basis that the fit begins with, so it works before any fit.

    Raises
    ------
    TrainingFailedError
        When there is not a single training structure.
    """
    began = time.monotonic()
    config, store, run = campaign.config, campaign.store, campaign.generation(generation)
    if store.count("train") == 0:
        raise TrainingFailedError(f"{store.directory} holds no training structures; add more DFT results")
    parent = Potential.current(campaign)
    lay_basis(config, run, parent)
    rule = config.active_set
    found = _everything(store)
    if rule.method == "maxvol" or rule.replay != "all":
        found = _Search(campaign, generation, parent, rule, on_progress).choose()
    else:
        run.active_set.unlink(missing_ok=True)
    selection = _describe(store, rule, found, time.monotonic() - began)
    content = _SelectionFile(selection=selection, structures=tuple(found.ids))
    write_atomically(run.selection, content.model_dump_json(indent=1) + "\n")
    return selection


def chosen_structures(campaign: Campaign, run: GenerationDirectory) -> Callable[[], Iterator[Structure]]:
    """Return a function that streams the structures that selection.json lists."""
    store, ids = campaign.store, chosen_ids(run)
    return lambda: (s.structure for s in store.iterate("train") if s.structure.structure_id in ids)


def chosen_ids(run: GenerationDirectory) -> frozenset[str]:
    """The structures that selection.json lists."""
    return frozenset(_SelectionFile.model_validate_json(run.selection.read_bytes()).structures)


def grade_potential(
    campaign: Campaign, generation: int, on_progress: Progress = lambda done: None
) -> dict[str, float]:
    """Compute the active set of a fitted potential and write its .asi.

    It is that of the structures the fit learned from, all atoms of them, in the fitted radial functions.

    Returns
    -------
    dict of element to float
        The largest extrapolation grade among those structures.
    """
    run = campaign.generation(generation)
    ids = chosen_ids(run)
    tolerance = campaign.config.active_set.gamma_tolerance
    fingerprint = projection_fingerprint(run.fitted_potential)
    active = ActiveSet.load(run.active_set, fingerprint) if run.active_set.exists() else None
    if active is not None and set(active.active_atoms()) <= ids:
        grades = dict.fromkeys(active.log_volume(), active.tolerance)
    else:
        active = ActiveSet(Projector(run.fitted_potential).n_functions, tolerance)
        grades = span(active, run.fitted_potential, chosen_structures(campaign, run), on_progress)
        active.covers = generation if len(ids) == campaign.store.count("train") else 0
        active.save(run.active_set, fingerprint)
    active.write_asi(run.inverse_active_set)
    return grades


class _Found(FrozenModel):
    ids: tuple[str, ...]
    gamma_before: dict[str, float] = {}
    gamma_after: dict[str, float] = {}
    log_volume: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    projected: int = 0


def _everything(store: DatasetStore) -> _Found:
    return _Found(ids=tuple(stored.structure.structure_id for stored in store.iterate("train")))


class _Search:
    """One selection by maxvol."""

    def __init__(
        self,
        campaign: Campaign,
        generation: int,
        parent: Potential | None,
        rule: ActiveSetRule,
        on_progress: Progress,
    ) -> None:
        self.store, self.rule, self.generation, self.parent = campaign.store, rule, generation, parent
        self.run = campaign.generation(generation)
        self.basis: Path = self.run.basis
        self.before = campaign.generation(parent.generation).active_set if parent else None
        self.on_progress = on_progress
        self.projected = 0
        self.notes: list[str] = []
        self.gamma_before: dict[str, float] = {}

    def choose(self) -> _Found:
        active, left = self._active_set()
        if missing := active.missing():
            told = ", ".join(f"{count} of {active.n_functions[e]} for {e}" for e, count in missing.items())
            self.notes.append(f"too few different atoms for all functions (without one: {told})")
        ids = self._pick(active)
        return _Found(
            ids=tuple(ids),
            gamma_before=self.gamma_before,
            gamma_after=left,
            log_volume=active.log_volume(),
            notes=tuple(self.notes),
            projected=self.projected,
        )

    def _active_set(self) -> tuple[ActiveSet, dict[str, float]]:
        """The active set of all training structures; from the one before where that is possible."""
        fingerprint = projection_fingerprint(self.basis)
        active = ActiveSet.load(self.before, fingerprint) if self.before and self.before.exists() else None
        if active is not None and self.parent is not None:
            self.gamma_before = largest_grades(active, self.basis, self._since(self.parent.generation))
            self.projected += sum(1 for _ in self._since(self.parent.generation))
        covered = 0 if active is None or active.tolerance != self.rule.gamma_tolerance else active.covers
        if active is None or not covered:
            active, covered = ActiveSet(Projector(self.basis).n_functions, self.rule.gamma_tolerance), 0
            if self.parent is not None:
                self.notes.append("all structures were projected anew, the basis or the selection has changed")
        done = self.projected
        left = span(active, self.basis, lambda: self._since(covered), lambda n: self._count(done + n))
        active.covers = self.generation
        active.save(self.run.active_set, fingerprint)
        return active, left

    def _since(self, generation: int) -> Iterator[Structure]:
        return (s.structure for s in self.store.iterate("train") if s.generation > generation)

    def _count(self, projected: int) -> None:
        self.projected = projected
        self.on_progress(projected)

    def _pick(self, active: ActiveSet) -> list[str]:
        """Ids of the chosen structures, in the order of the dataset."""
        rule, stored = self.rule, list(self._index())
        wanted = rule.max_structures or 0
        if rule.replay not in ("all", "active_set"):
            wanted = len(stored)
        done = self.projected
        order = rank(
            active, self.basis, lambda: self._since(0), min(wanted, len(stored)), lambda n: self._count(done + n)
        )
        kept = {i for i, _, config_type in stored if config_type in rule.keep}
        pool = self._after_replay(stored, order)
        if rule.method == "none":
            return [i for i, _, _ in stored if i in pool]
        if rule.max_structures is not None:
            position = {structure_id: place for place, structure_id in enumerate(order)}
            by_worth = sorted(pool, key=lambda i: (i not in kept, position.get(i, len(order))))
            chosen = set(by_worth[: rule.max_structures])
        else:
            chosen = {i for i in pool if i in kept or (i in order and order[i].round == 1)}
        return [i for i, _, _ in stored if i in chosen]

    def _index(self) -> Iterator[tuple[str, int, str]]:
        for row in self.store.iterate("train"):
            yield row.structure.structure_id, row.generation, row.structure.config_type

    def _after_replay(self, stored: list[tuple[str, int, str]], order: dict[str, Rank]) -> list[str]:
        """Ids of the new structures and of those older ones that may be used again."""
        before = self.parent.generation if self.parent else 0
        new = [i for i, generation, _ in stored if generation > before]
        old = [i for i, generation, _ in stored if generation <= before]
        position = {structure_id: place for place, structure_id in enumerate(order)}
        if self.rule.replay == "active_set":
            old = [i for i in old if i in order and order[i].round == 1]
        elif self.rule.replay != "all":
            most = round(self.rule.replay * len(new))
            old = sorted(old, key=lambda i: position.get(i, len(position)))[:most]
        return [*new, *old]


def _describe(store: DatasetStore, rule: ActiveSetRule, found: _Found, seconds: float) -> Selection:
    ids = frozenset(found.ids)
    rows = list(map(_properties, store.iterate("train")))
    elements: Counter[str] = Counter()
    types: Counter[str] = Counter()
    chosen_elements: Counter[str] = Counter()
    chosen_types: Counter[str] = Counter()
    for structure_id, symbols, config_type in rows:
        elements.update(symbols)
        types[config_type] += 1
        if structure_id in ids:
            chosen_elements.update(symbols)
            chosen_types[config_type] += 1
    return Selection(
        method=rule.method if rule.method == "maxvol" or rule.replay == "all" else "replay",
        structures=Share(chosen=len(ids), available=len(rows)),
        by_element={e: Share(chosen=chosen_elements[e], available=n) for e, n in sorted(elements.items())},
        by_config_type={t: Share(chosen=chosen_types[t], available=n) for t, n in sorted(types.items())},
        identity=hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
        seconds=seconds,
        **found.model_dump(exclude={"ids"}),
    )


def _properties(stored: StoredStructure) -> tuple[str, frozenset[str], str]:
    structure = stored.structure
    return structure.structure_id, frozenset(structure.symbols), structure.config_type


def _largest(grades: dict[str, float]) -> str:
    return ", ".join(f"{grade:.3g} {element}" for element, grade in grades.items())
