"""What becomes of potentials that the gate, or a person, accepted or rejected."""

import shlex

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import InputError, RejectedPotentialError
from mlip_train.potential.potential import Potential
from mlip_train.records.verdict import Decision

__all__ = ["check_accepted", "decide"]


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
        record.save(potential.path)
    return Potential.load(potential.path)
