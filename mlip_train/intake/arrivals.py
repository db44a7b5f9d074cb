"""What has arrived in a campaign's inbox, and what it would bring."""

from pathlib import Path

from mlip_train.base.frozen import Frozen
from mlip_train.intake.accumulation import Accumulation, preview
from mlip_train.intake.inbox import Inbox
from mlip_train.intake.reading import plain

__all__ = ["Arrivals", "examine"]


class Arrivals(Frozen):
    """The state of an inbox."""

    complete: tuple[Path, ...]  # and readable
    resumed: tuple[Path, ...]  # claimed by a run that was killed or failed
    refused: dict[str, str]  # by name, why it could not be read
    left: dict[str, str]  # by name, why it stays where it is
    brings: Accumulation  # what is complete and what is resumed, together

    def is_worth_a_generation(self, min_new_structures: int) -> bool:
        """Whether to begin: what was claimed once is always gone on with."""
        return bool(self.resumed) or self.brings.n_new >= min_new_structures

    def __str__(self) -> str:
        return (
            f"{self.brings}; {len(self.complete)} complete in the inbox, {len(self.resumed)} claimed before, "
            f"{len(self.left)} left, {len(self.refused)} put into inbox/refused"
        )


def examine(inbox: Inbox, settle_seconds: float) -> Arrivals:
    """Look at an inbox, count what is new in it, and put aside what cannot be read.

    Parameters
    ----------
    inbox : Inbox
        Held by the caller.
    settle_seconds : float
        What changed more recently is left: somebody may still be writing it.

    Raises
    ------
    ConfigError
        When the campaign's configuration is not valid; then nothing is put aside.
    """
    complete, left = inbox.look(settle_seconds)
    resumed = inbox.claimed()
    seen = preview(inbox.campaign, [*complete, *resumed])
    # What was being written while it was read is no reason to put it aside.
    unchanged = {*inbox.look(settle_seconds)[0], *resumed}
    refused = {}
    for entry, reason in seen.unreadable.items():
        name = plain(entry.name)
        stuck = inbox.refuse(entry, reason) if entry in unchanged else "it changed while it was read"
        if stuck:
            left[name] = stuck
        else:
            refused[name] = reason
    return Arrivals(
        complete=tuple(entry for entry in complete if entry not in seen.unreadable),
        resumed=tuple(entry for entry in resumed if entry not in seen.unreadable),
        refused=refused,
        left=left,
        brings=seen.brings,
    )
