"""What a run leaves to look at in Prefect. Keys are stable per campaign, so a key's page is its history."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from mlip_train.campaign.fit_plan import FitPlan

__all__ = ["ProgressReport", "artifact_key", "leave_page", "leave_table", "never_in_the_way"]


def artifact_key(campaign: Path, what: str) -> str:
    """A key of lower-case letters, digits and dashes, which is all that Prefect takes.

    Two campaigns may have the same name, so a few digits of the path's hash stand in it too.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", campaign.name.lower()).strip("-")
    place = hashlib.sha256(str(campaign).encode()).hexdigest()[:4]
    return f"{slug or 'campaign'}-{place}-{what}"


@contextmanager
def never_in_the_way() -> Iterator[None]:
    """Let a run go on when Prefect cannot be reached: what it trains matters more than the report."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("Prefect did not take a report (%s); the run goes on", type(error).__name__)


class ProgressReport:
    """The progress artifact of a training, on the page of the generation that it is a part of."""

    def __init__(self, plan: FitPlan) -> None:
        self._plan = plan
        self._artifact: UUID | None = None
        self._last = "no iteration was reported"

    def update(self, percent: float, description: str) -> None:
        """Create the artifact, or update it."""
        self._last = description
        with never_in_the_way(), get_client(sync_client=True) as client:
            if self._artifact is None:
                self._artifact = client.create_artifact(self._new(percent, description)).id
            else:
                change = ArtifactUpdate(data=percent, description=description)
                client.update_artifact(self._artifact, change)

    def end(self) -> None:
        """Say that there is nothing to wait for any more."""
        self.update(100.0, f"the engine has ended; last report: {self._last}")

    def _new(self, percent: float, description: str) -> ArtifactCreate:
        return ArtifactCreate(
            type="progress",
            key=artifact_key(self._plan.campaign, "training"),
            data=percent,
            description=description,
            flow_run_id=flow_run.parent_flow_run_id or flow_run.id,
        )


def leave_table(campaign: Path, what: str, rows: list[dict[str, str | int]], description: str) -> None:
    """Leave a table under a campaign's key, if there is anything in it."""
    if rows:
        with never_in_the_way():
            create_table_artifact(rows, key=artifact_key(campaign, what), description=description)


def leave_page(campaign: Path, what: str, markdown: str, description: str) -> None:
    """Leave a page under a campaign's key."""
    with never_in_the_way():
        create_markdown_artifact(markdown, key=artifact_key(campaign, what), description=description)
