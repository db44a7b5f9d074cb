"""Which stored structures a generation's fit learns from. The dataset keeps all of them."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.campaign.fit_plan import FitPlan, Groundwork
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.fit import ActiveSetRule, UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.fit.choice import Choice, choose
from mlip_train.pacemaker.weights import labelled, often_counted
from mlip_train.records.selection import Selection, SelectionFile, Share

__all__ = [
    "chosen_ids",
    "chosen_structures",
    "chosen_times",
    "draw_sample",
    "has_weights",
    "labelled_structures",
    "labelled_test_structures",
    "learned_structures",
    "read_selection",
    "select_structures",
]


def select_structures(ground: Groundwork, on_progress: Callable[[int], None] = lambda done: None) -> Selection:
    """Choose the training structures of a generation and write selection.json.

    Projections are those of the basis that the fit begins with, so it works before any fit.

    Raises
    ------
    TrainingFailedError
        When there is not a single training structure.
    """
    began = time.monotonic()
    campaign, rule = Campaign(ground.campaign), ground.config.active_set
    store = campaign.store
    if store.count("train") == 0:
        raise TrainingFailedError(f"{store.directory} holds no training structures; add more DFT results")
    if rule.method == "none" and rule.replay == "all":
        ground.run.active_set.unlink(missing_ok=True)  # of an earlier attempt
        choice = Choice(ids=[row.structure_id for row in store.index("train")])
    else:
        choice = choose(campaign, ground, on_progress)
    _leave_out(store, choice, ground.config.weights.config_type)
    choice.notes += _notes_on_weights(store, choice, ground.config.weights.config_type)
    selection = _describe(store, rule, choice, time.monotonic() - began)
    SelectionFile(selection=selection, structures=tuple(choice.ids)).save(ground.run.selection)
    return selection


def read_selection(run: GenerationDirectory) -> Selection:
    """What selection.json says in numbers.

    Raises
    ------
    CorruptFileError
        When it is not what `select_structures` writes.
    """
    return SelectionFile.load(run.selection).selection


def chosen_ids(run: GenerationDirectory) -> frozenset[str]:
    """The structures that selection.json lists."""
    return frozenset(SelectionFile.load(run.selection).structures)


def chosen_times(run: GenerationDirectory) -> Counter[str]:
    """How often selection.json lists each structure: once, but in a sample."""
    return Counter(SelectionFile.load(run.selection).structures)


def chosen_structures(campaign: Campaign, run: GenerationDirectory) -> Callable[[], Iterator[Structure]]:
    """Return a function that streams the structures that selection.json lists, as often as it does."""
    store, times = campaign.store, chosen_times(run)
    return lambda: (
        row.structure for row in store.iterate("train") for _ in range(times[row.structure.structure_id])
    )


def learned_structures(plan: FitPlan) -> Callable[[], Iterable[Structure]]:
    """Return a function that streams the structures of a fit with the labels that it sees."""
    structures, baseline = chosen_structures(Campaign(plan.campaign), plan.run), plan.baseline
    if baseline is None:
        return structures
    return lambda: map(baseline.subtracted, structures())


def has_weights(plan: FitPlan) -> bool:
    """Whether a structure or an atom of the training set has a weight other than 1."""
    by_type = plan.config.weights.config_type
    return any(
        often_counted(row, by_type) != 1.0 or row.has_atom_weights
        for row in Campaign(plan.campaign).store.index("train")
    )


def labelled_test_structures(plan: FitPlan) -> Iterator[LabelledStructure]:
    """Stream the test structures with the labels that a fit sees and their own weights; see `labelled`."""
    store, baseline = Campaign(plan.campaign).store, plan.baseline

    def unseen() -> Iterable[Structure]:
        structures = (row.structure for row in store.iterate("test"))
        return structures if baseline is None else map(baseline.subtracted, structures)

    energies, by_type = store.manifest.reference_energies, plan.config.weights.config_type
    return labelled(unseen, store.index("test"), energies, UniformWeighting(), plan.config.fit.seed, by_type)


def labelled_structures(plan: FitPlan) -> Iterator[LabelledStructure]:
    """Stream the structures of a fit with their weights in the loss; see `labelled`."""
    store, times, fit = Campaign(plan.campaign).store, chosen_times(plan.run), plan.config.fit
    known = (row for row in store.index("train") for _ in range(times[row.structure_id]))
    energies, by_type = store.manifest.reference_energies, plan.config.weights.config_type
    return labelled(learned_structures(plan), known, energies, fit.weighting, fit.seed, by_type)


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
    SelectionFile(selection=sample, structures=tuple(drawn)).save(target.selection)
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


def _leave_out(store: DatasetStore, choice: Choice, by_type: Mapping[str, float]) -> None:
    """Take what has the weight 0 out of the choice."""
    without = {row.structure_id for row in store.index("train") if not often_counted(row, by_type)}
    kept = [structure_id for structure_id in choice.ids if structure_id not in without]
    if not kept:
        raise TrainingFailedError(
            "all training structures have the weight 0; see weights in campaign.yaml, and the weights that the "
            "data bring"
        )
    if len(kept) < len(choice.ids):
        choice.notes.append(f"{len(choice.ids) - len(kept)} structures left out by the weight 0")
    choice.ids = kept


def _notes_on_weights(store: DatasetStore, choice: Choice, by_type: Mapping[str, float]) -> list[str]:
    """How often structures count, where not once; a config type at a time."""
    ids, weights, n_with_weights = frozenset(choice.ids), defaultdict(list), 0
    for row in store.index("train"):
        if row.structure_id in ids:
            weights[row.config_type].append(often_counted(row, by_type))
            n_with_weights += row.has_atom_weights
    notes = [
        f"weights of {name}: {min(found):g}" + (f" to {max(found):g}" if max(found) > min(found) else "")
        for name, found in sorted(weights.items())
        if set(found) != {1.0}
    ]
    if n_with_weights:
        notes.append(f"{n_with_weights} structures with weights of their atoms")
    return notes


def _shares(counts: dict[bool, Counter[str]]) -> dict[str, Share]:
    total = counts[True] + counts[False]
    return {key: Share(chosen=counts[True][key], available=total[key]) for key in sorted(total)}
