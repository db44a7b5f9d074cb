"""Taking DFT results out of a campaign's inbox, and putting them away."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.arrivals import Arrivals
from mlip_train.intake.arrivals import examine as examine_inbox
from mlip_train.intake.inbox import Inbox
from mlip_train.intake.reading import plain

__all__ = ["claim", "examine", "finish"]


@task(name="examine-inbox", task_run_name="examine-inbox")
def examine(campaign: Path, settle_seconds: float) -> Arrivals:
    """See what is complete in the inbox and what is new in it."""
    logger = get_run_logger()
    arrivals = examine_inbox(Inbox(Campaign(campaign)), settle_seconds)
    logger.info("Inbox: %s", arrivals)
    if arrivals.refused:
        logger.warning("Cannot be read, put into inbox/refused:\n%s", _listed(arrivals.refused))
    if arrivals.left:
        logger.info("Left in the inbox:\n%s", _listed(arrivals.left))
    return arrivals


@task(name="claim", task_run_name="claim")
def claim(campaign: Path, entries: tuple[Path, ...], settle_seconds: float) -> list[Path]:
    """Claim what is complete; return all that is claimed now, with what a killed run had claimed."""
    logger = get_run_logger()
    inbox = Inbox(Campaign(campaign))
    if left := inbox.claim(entries, settle_seconds):
        logger.warning("Could not be claimed:\n%s", _listed(left))
    claimed = inbox.claimed()
    logger.info("Claimed: %s", ", ".join(plain(entry.name) for entry in claimed))
    return claimed


@task(name="finish-inbox", task_run_name="finish-inbox")
def finish(campaign: Path) -> None:
    """Put away what was learned from."""
    Inbox(Campaign(campaign)).finish()


def _listed(reasons: Mapping[str, str]) -> str:
    return "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
