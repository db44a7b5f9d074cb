from __future__ import annotations

import traceback

import pytest

from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError
from tests.mlip_train.config.parsing import refusal


@pytest.mark.parametrize("name", ["OMP-NUM", "1A", "", "A B", "A=B"])
def test_an_environment_variable_has_a_plain_name(name: str) -> None:
    told = refusal(engine={"environment": {name: "1"}})
    assert f"{name!r} is not the name of an environment variable" in told


@pytest.mark.parametrize("value", [271828182, "27182\0", ["27182"], {"a": "27182"}, 27182.5])
def test_the_value_of_an_environment_variable_is_not_told(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        CampaignConfig.parse({"elements": ["Si"], "engine": {"environment": {"KEY": value}}}, "campaign.yaml")
    assert "the value of KEY must be text; put it in quotes" in str(caught.value)
    assert "27182" not in "".join(traceback.format_exception(caught.value))  # as a flow run would log it


@pytest.mark.parametrize("engine", [{"environment": {"A": "x\0y"}}, {"command": ["pace\0maker"]}])
def test_nul_characters_cannot_be_passed_to_a_program(engine: dict[str, object]) -> None:
    assert "engine" in refusal(engine=engine)
