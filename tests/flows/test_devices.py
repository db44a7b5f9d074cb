"""A training that was asked for a GPU and got none does not go on for hours on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.errors import NoGpuError
from tests.flows.processes import engines_of

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_engine_is_not_even_started(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign(real_engine=True, gpu={})
    with pytest.raises(NoGpuError, match=r"there is TensorFlow .* with no GPU"):
        train_generation(campaign.root, [write_batch(0, 6)])
    assert not campaign.generation(1).log.exists()


def test_an_engine_that_a_launcher_put_on_a_cpu_is_ended(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    slow_on_cpu = {"STANDIN_DEVICES": "/device:CPU:0", "STANDIN_SECONDS": "4"}
    campaign = make_campaign(gpu={"index": 1}, environment=slow_on_cpu)
    with pytest.raises(NoGpuError, match="asks for GPU 1, but the engine computes on /device:CPU:0"):
        train_generation(campaign.root, [write_batch(0, 6)])
    assert not engines_of(campaign)


@pytest.mark.parametrize(
    ("gpu", "devices"),
    [({}, "/device:CPU:0 /device:GPU:0"), ({"required": False}, "/device:CPU:0")],
    ids=["with one", "told that a CPU will do"],
)
def test_others_train_and_say_on_what(
    gpu: dict[str, bool], devices: str, make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(gpu=gpu, environment={"STANDIN_DEVICES": devices})
    result = train_generation(campaign.root, [write_batch(0, 6)])
    assert result.potential is not None
    assert result.potential.record.devices == ", ".join(devices.split())
