"""Taking a batch of DFT results into a campaign's dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mlip_train.campaign import Campaign
from mlip_train.dataset import DatasetStore
from mlip_train.errors import NoUsableStructuresError
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.input_yaml import check_supported
from mlip_train.reading import read_batch
from mlip_train.reference_energies import pin_reference_energies
from mlip_train.structures import Refusal

__all__ = ["Accumulation", "accumulate", "list_refusals"]

_SHOWN = 8


class Accumulation(FrozenModel):
    """What a batch brought."""

    generation: int | None  # to be trained now; None when there is nothing new to learn from
    n_new: int
    n_duplicates: int
    n_refused: int
    n_train: int  # in the dataset, after this batch
    n_test: int
    dataset_hash: str
    refusals: tuple[Refusal, ...] = ()  # the first few

    def __str__(self) -> str:
        return (
            f"{self.n_new} new structures, {self.n_duplicates} known already, {self.n_refused} refused; "
            f"the dataset holds {self.n_train} for training and {self.n_test} for testing"
        )


def accumulate(campaign: Campaign, sources: Iterable[str | Path]) -> Accumulation:
    """Check a batch, store what is new in one step, and say which generation is to be trained.

    A batch without anything new leads to the generation whose training did not end, if there is one.

    Raises
    ------
    InputError
        When a source does not exist, the configuration is not valid, or not one structure is usable.
        The dataset is unchanged.
    """
    config, store = campaign.config, campaign.store
    check_supported(config)
    store.verify()
    batch = read_batch(sources, campaign.frame_rules())
    sorted_out = store.sort_out(batch.structures)
    refusals = [*batch.refusals, *sorted_out.contradictions]
    campaign.quarantine(refusals, campaign.next_generation())
    if not sorted_out.new:
        if not sorted_out.n_duplicates:
            raise NoUsableStructuresError(_nothing_usable(refusals, len(batch.isolated_atoms)))
        return _summary(store, campaign.pending_generation(), 0, sorted_out.n_duplicates, refusals)

    energies = pin_reference_energies(
        config, store.manifest.reference_energies, sorted_out.new, batch.isolated_atoms
    )
    splits = store.splits_for(sorted_out.new, config.test.fraction, stratified=config.test.stratify_by is not None)
    shard = store.append(sorted_out.new, splits, campaign.next_generation(), energies)
    return _summary(store, shard.generation, len(sorted_out.new), sorted_out.n_duplicates, refusals)


def list_refusals(refusals: Sequence[Refusal], total: int) -> str:
    """One line per refused frame, the first few."""
    lines = [
        f"  {r.source}{'' if r.frame is None else f' frame {r.frame}'}: {r.reason}" for r in refusals[:_SHOWN]
    ]
    if total > len(lines):
        lines.append(f"  ... and {total - len(lines)} more, see the quarantine directory")
    return "\n".join(lines)


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


def _nothing_usable(refusals: Sequence[Refusal], n_isolated: int) -> str:
    if not refusals:
        return (
            f"the batch holds {n_isolated} isolated atoms and nothing to train on; give them together with "
            "the first structures"
        )
    return (
        f"not one structure of the batch can be used; the dataset was not changed. Refused:\n"
        f"{list_refusals(refusals, len(refusals))}"
    )
