"""What engine.environment holds stays in the campaign's own directory: a licence key may be among it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local_server import LocalServer
from flows.train_generation import train_generation
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import ConfigError, TrainingFailedError
from tests.conftest import _HOME
from tests.flows.processes import wait_for

SECRET = "correct-horse-battery-staple"  # noqa: S105 - of nothing

pytestmark = [pytest.mark.usefixtures("prefect_server")]


def files_with_the_secret(folder: Path) -> set[str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)) for file in files if SECRET.encode() in file.read_bytes()}


def test_the_engines_environment_reaches_neither_prefect_nor_a_bundle(
    make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign(environment={"LICENCE_KEY": SECRET})
    batch = write_batch(0, 12)
    assert train_generation(campaign.root, [batch]).status == "published"

    failing = make_campaign("failing", environment={"LICENCE_KEY": SECRET, "STANDIN_FAILS": "crash_at_start"})
    with pytest.raises(TrainingFailedError):
        train_generation(failing.root, [batch])

    wrong = make_campaign("wrong")
    text = wrong.config_file.read_text().replace("environment: {}", f'environment: {{KEY: "{SECRET}\\0"}}')
    wrong.config_file.write_text(text)
    with pytest.raises(ConfigError, match="the value of KEY must be text"):
        train_generation(wrong.root, [batch])

    def told_prefect() -> bool:
        database = LocalServer().home.glob("prefect.db*")
        return any(b"the value of KEY must be text" in file.read_bytes() for file in database)

    assert wait_for(told_prefect, 30)  # log lines are sent in batches, and what was told before came earlier
    assert files_with_the_secret(Path(_HOME)) == set()  # the server's database and log, results, caches
    assert files_with_the_secret(campaign.root) == {"campaign.yaml", "generations/gen_01/plan.json"}
