"""Which stored structures a generation's fit learns from. The dataset keeps all of them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydantic import ValidationError

from mlip_train.campaign import Campaign
from mlip_train.choice import Choice, choose
from mlip_train.config import ActiveSetRule
from mlip_train.dataset import DatasetStore
from mlip_train.errors import CorruptFileError, TrainingFailedError
from mlip_train.files import write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.potential import Potential
from mlip_train.starting import lay_basis
from mlip_train.structures import Structure

__all__ = [
    "Selection",
    "Share",
    "chosen_ids",
    "chosen_structures",
    "chosen_times",
    "draw_sample",
    "read_selection",
    "select_structures",
]


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
    gamma_after: dict[str, float] = {}  # largest grade to the active set (of the new ones, where it was grown)
    log_volume: dict[str, float] = {}  # ln |det A| of the active set
    notes: tuple[str, ...] = ()
    projected: int = 0  # structures, counted every time
    seconds: float = 0.0

    def __str__(self) -> str:
        grades = f"; largest extrapolation grade {_told(self.gamma_after)}" if self.gamma_after else ""
        if self.gamma_before:
            grades += f", that of the new structures to the potential before {_told(self.gamma_before)}"
        return f"{self.structures} structures ({self.method}){grades}" + "".join(f"; {n}" for n in self.notes)


class _SelectionFile(FrozenModel):
    """The content of selection.json."""

    selection: Selection
    structures: tuple[str, ...]


def select_structures(
    campaign: Campaign, generation: int, on_progress: Callable[[int], None] = lambda done: None
) -> Selection:
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
    rule, parent = config.active_set, Potential.current(campaign)
    lay_basis(config, run, parent)
    if rule.method == "none" and rule.replay == "all":
        run.active_set.unlink(missing_ok=True)  # of an earlier attempt
        choice = Choice(ids=[row.structure_id for row in store.index("train")])
    else:
        last_fitted = parent.generation if parent else 0
        active_sets = campaign.generation(last_fitted).active_set, run.active_set
        choice = choose(store, rule, run.basis, generation, last_fitted, active_sets, on_progress)
    selection = _describe(store, rule, choice, time.monotonic() - began)
    content = _SelectionFile(selection=selection, structures=tuple(choice.ids))
    write_atomically(run.selection, content.model_dump_json(indent=1) + "\n")
    return selection


def read_selection(run: GenerationDirectory) -> Selection:
    """What selection.json says in numbers.

    Raises
    ------
    CorruptFileError
        When it is not what `select_structures` writes.
    """
    return _read(run).selection


def chosen_ids(run: GenerationDirectory) -> frozenset[str]:
    """The structures that selection.json lists."""
    return frozenset(_read(run).structures)


def chosen_times(run: GenerationDirectory) -> Counter[str]:
    """How often selection.json lists each structure: once, but in a sample."""
    return Counter(_read(run).structures)


def _read(run: GenerationDirectory) -> _SelectionFile:
    try:
        return _SelectionFile.model_validate_json(run.selection.read_bytes())
    except ValidationError as error:
        raise CorruptFileError(
            f"{run.selection} does not say what a fit learned from; restore it from a backup, or remove it: of a "
            "published generation only its report needs it, and a run that trains writes it anew"
        ) from error


def chosen_structures(campaign: Campaign, run: GenerationDirectory) -> Callable[[], Iterator[Structure]]:
    """Return a function that streams the structures that selection.json lists, as often as it does."""
    store, times = campaign.store, chosen_times(run)
    return lambda: (
        row.structure for row in store.iterate("train") for _ in range(times[row.structure.structure_id])
    )


def draw_sample(source: GenerationDirectory, target: GenerationDirectory, seed: Sequence[int]) -> Selection:
    """Write the selection.json of a bootstrap sample: as many structures, drawn with replacement.

    Parameters
    ----------
    source, target : GenerationDirectory
        Whose structures are drawn from, and whose the sample is.
    seed : sequence of int
        The same seed draws the same sample, whatever the order in which the structures came.
    """
    ids = sorted(chosen_ids(source))
    drawn = sorted(np.random.default_rng(seed).choice(ids, size=len(ids)).tolist())
    sample = Selection(
        method="drawn with replacement",
        structures=Share(chosen=len(set(drawn)), available=len(ids)),
        by_element={},
        by_config_type={},
        identity=hashlib.sha256("\n".join(drawn).encode()).hexdigest(),
    )
    content = _SelectionFile(selection=sample, structures=tuple(drawn))
    write_atomically(target.selection, content.model_dump_json(indent=1) + "\n")
    return sample


def _describe(store: DatasetStore, rule: ActiveSetRule, choice: Choice, seconds: float) -> Selection:
    ids = frozenset(choice.ids)
    elements: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    types: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for row in store.index("train"):
        is_chosen = row.structure_id in ids
        elements[is_chosen].update(row.elements)
        types[is_chosen][row.config_type] += 1
    method = {"maxvol": "maxvol", "none": "all" if rule.replay == "all" else "new ones and a replay"}[rule.method]
    return Selection(
        method=method,
        structures=Share(chosen=len(ids), available=store.count("train")),
        by_element=_shares(elements),
        by_config_type=_shares(types),
        identity=hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
        gamma_before=choice.gamma_before,
        gamma_after=choice.gamma_after,
        log_volume=choice.log_volume,
        notes=tuple(choice.notes),
        projected=choice.projected,
        seconds=seconds,
    )


def _shares(counts: dict[bool, Counter[str]]) -> dict[str, Share]:
    total = counts[True] + counts[False]
    return {key: Share(chosen=counts[True][key], available=total[key]) for key in sorted(total)}


def _told(grades: dict[str, float]) -> str:
    return ", ".join(f"{grade:.3g} ({element})" for element, grade in grades.items())
