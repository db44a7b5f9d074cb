"""What becomes of potentials that the gate, or a person, accepted or rejected."""

from __future__ import annotations

import shlex

from mlip_train.campaign import Campaign
from mlip_train.errors import InputError, RejectedPotentialError
from mlip_train.files import write_atomically
from mlip_train.gate import Decision, read_standing
from mlip_train.potential import Potential

__all__ = ["awaiting_training", "check_accepted", "decide"]


def awaiting_training(campaign: Campaign) -> int | None:
    """The newest generation, if it has no potential, or a rejected one that is not what would be trained now.

    That is so when the configuration was changed since, another potential is current than it was compared with, or
    its files were not what was trained, which the next attempt makes good.
    """
    pending, published = campaign.pending_generation(), campaign.published_generations()
    if pending is not None or not published or published[-1] != campaign.store.generations[-1]:
        return pending
    if read_standing(campaign.bundle_record(published[-1])).accepted:
        return None
    rejected = Potential.of(campaign, published[-1]).record
    is_other = rejected.lineage.config_hash != campaign.config.digest
    is_other_parent = rejected.errors.parent != campaign.current_generation()
    has_broken_files = any(check.name == "consistency" and check.passed is False for check in rejected.checks)
    return published[-1] if is_other or is_other_parent or has_broken_files else None


def check_accepted(campaign: Campaign, potential: Potential) -> None:
    """Say why a potential did not become the current one, and what can be done.

    Raises
    ------
    RejectedPotentialError
        When it was not accepted.
    """
    record = potential.record
    if record.accepted:
        return
    number, current = potential.generation, campaign.current_generation()
    why = record.state if record.decisions else record.verdict
    stays = f"Generation {current} stays current" if current else "There is no accepted potential yet"
    raise RejectedPotentialError(
        f"generation {number} was trained and is kept, but {why}. {stays}. "
        f"See {campaign.generation(number).report}. Add data or change {campaign.CONFIG}, and run again; or use "
        f"it all the same: mlip-train accept {shlex.quote(str(campaign.root))} {number}"
    )


def decide(campaign: Campaign, generation: int, decision: Decision) -> Potential:
    """Accept or reject a published potential, whatever the gate had found.

    Call it while holding the campaign. The newest accepted generation becomes the current one.

    Raises
    ------
    InputError
        When there is no such potential, or it stands so already.
    """
    potential = Potential.of(campaign, generation)
    if potential.record.accepted == decision.accepted:
        raise InputError(f"generation {generation} is {potential.record.state} already; nothing was changed")
    record = potential.record.model_copy(update={"decisions": (*potential.record.decisions, decision)})
    with campaign.moving_current(generation):
        write_atomically(potential.path, record.model_dump_json(indent=1) + "\n")
    return Potential.load(potential.path)
