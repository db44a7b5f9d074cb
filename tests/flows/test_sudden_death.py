"""Killed at any moment, a campaign is what it was before or what it becomes when run again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train import Campaign, Potential
from tests.flows.processes import engines_of, start_run, wait_for


def is_old_or_new(campaign: Campaign) -> None:
    """Whatever is there is whole: verified shards, and bundles whose checksums hold."""
    campaign.store.verify()
    for record in campaign.potentials.glob("potential_gen_*.json"):
        Potential.load(record)
    Potential.current(campaign)


def test_ten_kills_and_a_last_run_give_the_dataset_and_the_bundle_of_an_undisturbed_run(
    make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path], prefect_server: str
) -> None:
    slow = {"STANDIN_SECONDS": "0.1"}
    undisturbed, campaign = make_campaign("undisturbed", environment=slow), make_campaign(environment=slow)
    data = write_batch(0, 6)
    began = time.monotonic()
    assert start_run(undisturbed, data, prefect_server).wait(120) == 0
    whole_run = time.monotonic() - began - 3  # less what it takes to import Prefect

    moments = random.Random(2026)
    for _ in range(10):
        process = start_run(campaign, data, prefect_server)
        time.sleep(moments.uniform(0.0, max(whole_run, 3.0)))
        process.kill()
        process.wait()
        is_old_or_new(campaign)
        assert wait_for(lambda: not engines_of(campaign), 10), "the engine outlived its flow"
    assert start_run(campaign, data, prefect_server).wait(120) == 0

    assert campaign.store.manifest == undisturbed.store.manifest
    assert [p.name for p in sorted(campaign.potentials.iterdir())] == [
        "current.json",
        "potential_gen_01.asi",
        "potential_gen_01.json",
        "potential_gen_01.lmp",
        "potential_gen_01.yace",
        "potential_gen_01.yaml",
    ]
    assert Potential.current(campaign) is not None
    assert not list(campaign.root.rglob("*.tmp"))


@pytest.mark.usefixtures("real_engine")
def test_the_real_engine_dies_with_its_flow_and_the_fit_resumes(
    make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path], prefect_server: str
) -> None:
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 400})
    data = write_batch(0, 10)
    process = start_run(campaign, data, prefect_server)
    interim = campaign.generation(1).interim_record
    assert wait_for(interim.exists, 120), "no interim potential was kept"

    process.kill()
    process.wait()

    assert wait_for(lambda: not engines_of(campaign), 15), "the engine outlived its flow"
    text = campaign.config_file.read_text()
    campaign.config_file.write_text(text.replace("max_epochs: 400", "max_epochs: 400  # as before"))
    process = start_run(campaign, data, prefect_server)
    log = campaign.generation(1).log
    assert wait_for(lambda: log.read_text().count("Start pacemaker") == 2, 60)
    assert "start_potential.yaml" in campaign.generation(1).input_yaml.read_text()
    process.terminate()
    process.wait()
    assert wait_for(lambda: not engines_of(campaign), 15), "the engine outlived a terminated flow"
