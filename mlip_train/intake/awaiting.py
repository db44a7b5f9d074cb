"""Which generation is to be trained when a batch brings nothing new."""

from mlip_train.campaign.campaign import Campaign
from mlip_train.potential.potential import Potential
from mlip_train.records.potential import PotentialRecord

__all__ = ["awaiting_training"]


def awaiting_training(campaign: Campaign) -> int | None:
    """The newest generation, if it has no potential, or a rejected one that is not what would be trained now.

    That is so when the configuration was changed since, another potential is current than it was compared with, or
    its files were not what was trained, which the next attempt makes good.
    """
    pending, published = campaign.pending_generation(), campaign.published_generations()
    if pending is not None or not published or published[-1] != campaign.store.generations[-1]:
        return pending
    if PotentialRecord.load(campaign.bundle_record(published[-1])).accepted:
        return None
    rejected = Potential.of(campaign, published[-1]).record
    is_other = rejected.lineage.config_hash != campaign.config.digest
    is_other_parent = rejected.errors.parent != campaign.current_generation()
    has_broken_files = any(check.name == "consistency" and check.passed is False for check in rejected.checks)
    return published[-1] if is_other or is_other_parent or has_broken_files else None
