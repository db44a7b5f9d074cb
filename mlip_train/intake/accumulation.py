"""Taking a batch of DFT results into a campaign's dataset."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlip_train.atoms.neighbours import nearest_neighbour_distances
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError, InputError, NoUsableStructuresError
from mlip_train.intake.awaiting import awaiting_training
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import Batch, plain, read_batch
from mlip_train.intake.reference_energies import pin_reference_energies, refuse_changed_energies
from mlip_train.potential.potential import Potential
from mlip_train.records.refusal import Refusal

__all__ = ["Accumulation", "Preview", "accumulate", "list_refusals", "preview"]

_SHOWN = 8


class Accumulation(Frozen):
    """What a batch brought."""

    generation: int | None  # to be trained now; None when there is nothing new to learn from
    n_new: int
    n_duplicates: int
    n_refused: int
    n_train: int  # in the dataset, after this batch
    n_test: int
    dataset_hash: str
    refusals: tuple[Refusal, ...] = ()  # the first few

    def list_refusals(self) -> str:
        """The first refused frames, one line each, and how many more there are."""
        return list_refusals(self.refusals) + _more(self.n_refused)

    def __str__(self) -> str:
        return (
            f"{self.n_new} new structures, {self.n_duplicates} known already, {self.n_refused} refused; "
            f"the dataset holds {self.n_train} for training and {self.n_test} for testing"
        )


class Preview(Frozen):
    """What files would bring, before they are taken."""

    brings: Accumulation
    unreadable: dict[Path, str]  # files and folders out of which nothing can be read, and why


def accumulate(campaign: Campaign, sources: Iterable[str | Path]) -> Accumulation:
    """Check a batch, store what is new in one step, and say which generation is to be trained.

    A batch without anything new leads to the generation that awaits its training, if there is one.
    Call it while holding the campaign.

    Raises
    ------
    InputError
        When a source does not exist, the configuration is not valid, or not one structure is usable.
        The dataset is unchanged.
    """
    config, store = campaign.config, campaign.store
    campaign.check_whole()
    store.verify()
    Potential.current(campaign)  # to be continued; damage is reported before anything is stored
    _check_dataset_fits(config, store)
    refuse_changed_energies(config, store.manifest.reference_energies)
    batch = read_batch(sources, frame_rules(campaign.config))
    sorted_out = store.sort_out(batch.structures)
    refusals = [*batch.refusals, *sorted_out.contradictions]
    campaign.quarantine(refusals, campaign.next_generation())
    if not sorted_out.new:
        if not sorted_out.n_duplicates:
            raise NoUsableStructuresError(_nothing_usable(refusals, len(batch.isolated_atoms)))
        return _summary(store, awaiting_training(campaign), 0, sorted_out.n_duplicates, refusals)

    energies = pin_reference_energies(
        config, store.manifest.reference_energies, sorted_out.new, batch.isolated_atoms
    )
    splits = store.splits_for(sorted_out.new, config.test.fraction, stratified=config.test.stratify_by is not None)
    shard = store.append(sorted_out.new, splits, campaign.next_generation(), energies, config.basis.cutoff)
    return _summary(store, shard.generation, len(sorted_out.new), sorted_out.n_duplicates, refusals)


def preview(campaign: Campaign, sources: Iterable[Path]) -> Preview:
    """Count what is new in some files and folders; nothing is stored or put into quarantine.

    Other than in a batch that is accumulated, what cannot be read is listed apart and stops nothing.

    Raises
    ------
    ConfigError
        When the campaign's configuration is not valid.
    """
    rules, store = frame_rules(campaign.config), campaign.store
    readable, unreadable = Batch(), {}
    for source in sources:
        try:
            batch = read_batch([source], rules)
        except InputError as error:
            unreadable[source] = plain(str(error))
            continue
        if _is_unreadable(batch):
            unreadable[source] = "nothing in it can be read:\n" + list_refusals(batch.refusals)
            continue
        readable.structures += batch.structures
        readable.refusals += batch.refusals
    sorted_out = store.sort_out(readable.structures)
    refusals = [*readable.refusals, *sorted_out.contradictions]
    brings = _summary(store, None, len(sorted_out.new), sorted_out.n_duplicates, refusals)
    return Preview(brings=brings, unreadable=unreadable)


def _is_unreadable(batch: Batch) -> bool:
    """Whether not one frame was found; frames that the frame check refuses are of a file that can be read."""
    found = batch.structures or batch.isolated_atoms
    return not found and all(refusal.frame is None for refusal in batch.refusals)


def list_refusals(refusals: Sequence[Refusal]) -> str:
    """One line per file and reason, with the frames."""
    frames: dict[tuple[str, str], list[int]] = {}
    for refusal in refusals:
        of_reason = frames.setdefault((refusal.source, refusal.reason), [])
        if refusal.frame is not None:
            of_reason.append(refusal.frame)
    return "\n".join(f"  {source}{_frames(which)}: {reason}" for (source, reason), which in frames.items())


def _frames(which: Sequence[int]) -> str:
    match which:
        case []:
            return ""
        case [one]:
            return f" frame {one}"
        case [first, *_, last] if last - first == len(which) - 1:
            return f" frames {first}-{last}"
        case _:
            return f" frames {', '.join(map(str, which))}"


def _check_dataset_fits(config: CampaignConfig, store: DatasetStore) -> None:
    """Refuse a changed configuration under which stored structures could not be trained any more.

    The engine would take a foreign atom for its first element, and drop a structure with an atom
    that has no neighbour within the cutoff, both without a word.
    """
    stored = {element for shard in store.manifest.shards for element in shard.atoms_by_element}
    if missing := sorted(stored - set(config.elements)):
        raise ConfigError(
            f"elements: the dataset holds {', '.join(missing)}, which {list(config.elements)} does not name; add "
            "it back, or start a new campaign"
        )
    if all(shard.cutoff <= config.basis.cutoff for shard in store.manifest.shards):
        return
    for row in store.iterate():
        atoms, cutoff = row.structure.to_atoms(), config.basis.cutoff
        if np.isinf(nearest_neighbour_distances(atoms, cutoff)).any():
            raise ConfigError(
                f"basis.cutoff: {cutoff:g} Å leaves an atom of {row.structure.source} frame {row.structure.frame} "
                "without neighbours; set it back to a larger value, or start a new campaign"
            )


def _summary(
    store: DatasetStore, generation: int | None, n_new: int, n_duplicates: int, refusals: Sequence[Refusal]
) -> Accumulation:
    return Accumulation(
        generation=generation,
        n_new=n_new,
        n_duplicates=n_duplicates,
        n_refused=len(refusals),
        n_train=store.count("train"),
        n_test=store.count("test"),
        dataset_hash=store.manifest.dataset_hash,
        refusals=tuple(refusals[:_SHOWN]),
    )


def _more(total: int) -> str:
    return f"\n  ... and {total - _SHOWN} more, see the campaign's quarantine" if total > _SHOWN else ""


def _nothing_usable(refusals: Sequence[Refusal], n_isolated: int) -> str:
    if not refusals and not n_isolated:
        return "no files were given; name files, folders or glob patterns with DFT results"
    if not refusals:
        return (
            f"the batch holds {n_isolated} isolated atoms and nothing to train on; give them together with "
            "the first structures"
        )
    return (
        f"not one structure of the batch can be used; the dataset was not changed. Refused:\n"
        f"{list_refusals(refusals[:_SHOWN])}{_more(len(refusals))}"
    )
