from __future__ import annotations

import re
from typing import Any

import pytest
from ase.data import chemical_symbols
from hypothesis import given
from hypothesis import strategies as st

from mlip_train.base.strict_yaml import load_yaml
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.presets import PRESETS
from mlip_train.config.template import campaign_yaml
from mlip_train.errors import ConfigError


def zbl(elements: list[str]) -> dict[str, str]:
    return {"kind": "zbl", "mode": "core" if len(elements) == 1 else "delta"}


def chosen(elements: list[str], preset: str) -> CampaignConfig:
    content = {"elements": elements, "preset": preset, "reference": zbl(elements)}
    return CampaignConfig.parse(content, "chosen")


def read(text: str) -> Any:
    return load_yaml(text, "campaign.yaml")


def uncommented(text: str) -> str:
    return re.sub(r"^# (?=[a-z_]+: )", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_new_file_says_what_was_chosen(preset: str) -> None:
    text = campaign_yaml(["Ni", "Al"], preset)
    assert read(text) == {"elements": ["Al", "Ni"], "preset": preset, "reference": zbl(["Al", "Ni"])}
    assert CampaignConfig.parse(read(text), "campaign.yaml") == chosen(["Al", "Ni"], preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_commented_lines_are_the_values_that_apply_anyway(preset: str) -> None:
    values = read(uncommented(campaign_yaml(["Al", "Ni"], preset)))
    assert set(values) == set(CampaignConfig.model_fields) - {"extra"}
    assert CampaignConfig.parse(values, "campaign.yaml") == chosen(["Al", "Ni"], preset)


@given(elements=st.lists(st.sampled_from(chemical_symbols[1:]), min_size=1, max_size=7, unique=True))
def test_any_elements_survive_the_file(elements: list[str]) -> None:
    assert CampaignConfig.parse(read(campaign_yaml(elements, "quick")), "campaign.yaml") == chosen(
        elements, "quick"
    )


@pytest.mark.parametrize("symbol", ["No", "Y", "N"])
def test_an_element_that_yaml_takes_for_yes_or_no_survives_the_file(symbol: str) -> None:
    assert read(campaign_yaml([symbol], "quick"))["elements"] == [symbol]


@pytest.mark.parametrize("n_elements", [8, 10, 14, 40])
def test_a_file_with_many_elements_is_valid(n_elements: int) -> None:
    elements = sorted(chemical_symbols[11 : 11 + n_elements])
    values = read(uncommented(campaign_yaml(elements, "quick")))
    assert CampaignConfig.parse(values, "campaign.yaml") == chosen(elements, "quick")


@pytest.mark.parametrize(("elements", "preset"), [(["Sii"], "quick"), (["Si"], "fast"), ([], "quick")])
def test_a_wrong_choice_is_refused(elements: list[str], preset: str) -> None:
    with pytest.raises(ConfigError, match="the new campaign"):
        campaign_yaml(elements, preset)
