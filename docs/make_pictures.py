"""Make the pictures of Prefect's pages in docs/pictures, with real runs: `python -m docs.make_pictures`.

Two generations of silicon are trained with few iterations, against a server of their own, and looked at with
Chromium, which must be on the PATH. It takes some three minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from docs.browser import Browser, find_chromium

_HERE = Path(__file__).resolve().parent
_SILICON = _HERE.parent / "examples" / "silicon"
_PICTURES = _HERE / "pictures"


def main() -> None:
    """Bring up a server in a temporary directory, train, and take the pictures."""
    program = find_chromium()
    if program is None:
        sys.exit("Error: neither chromium nor google-chrome is on the PATH; install one of them")
    with tempfile.TemporaryDirectory(prefix="mlip-train-") as folder:
        # before anything imports Prefect, which reads its settings once
        os.environ |= {"PREFECT_HOME": f"{folder}/prefect", "DO_NOT_TRACK": "1"}
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from deployments.local_server import LocalServer

        server = LocalServer(Path(folder) / "server")
        url = server.start()
        try:
            with temporary_settings({PREFECT_API_URL: f"{url}/api"}), Browser(program) as browser:
                _take(browser, url, Path(folder) / "silicon")
        finally:
            server.stop()


def _take(browser: Browser, url: str, campaign: Path) -> None:
    _PICTURES.mkdir(exist_ok=True)
    browser.open(f"{url}/deployments/deployment/{_deployed()}/run", "new_campaign")
    browser.click("NewCampaign", "preset (Optional)")
    browser.picture(_PICTURES / "form.png", height=1500, settle=2)

    run = _train(campaign)
    browser.open(f"{url}/runs/flow-run/{run}", "Completed", "Published")
    browser.picture(_PICTURES / "generation.png", height=1200, settle=2)

    page = _page(run)
    browser.open(f"{url}/v2/artifacts/artifact/{page}", "test set, the parent")
    browser.picture(_PICTURES / "potential.png", height=1100, settle=2)


def _deployed() -> UUID:
    """Register the service; return which deployment trains generations."""
    from prefect.client.orchestration import get_client

    from deployments.deploy import deploy

    deploy()
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name("train-generation/cpu").id


def _train(campaign: Path) -> UUID:
    """Train two generations; return the run of the second."""
    from flows.train_generation import train_generation
    from mlip_train.campaign.new_campaign import NewCampaign

    def state_after(batch: str, new: NewCampaign | None = None) -> Any:
        return train_generation(campaign, [_SILICON / batch], new, return_state=True)

    new = NewCampaign.model_validate({"elements": ["Si"], "preset": "quick", "fit": {"max_epochs": 15}})
    state_after("batch_1.extxyz", new).result()
    second = state_after("batch_2.extxyz")
    second.result()
    return UUID(str(second.state_details.flow_run_id))


def _page(run: UUID) -> UUID:
    """The artifact that tells of the potential that a run has published."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=of_run)
    return next(artifact.id for artifact in artifacts if str(artifact.key).endswith("-potential"))


if __name__ == "__main__":
    main()
