from __future__ import annotations

from typing import Any

import pytest

from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.presets import PRESETS, fill_in


def config(preset: str, **values: Any) -> CampaignConfig:
    return CampaignConfig.parse({"elements": ["Si"], "preset": preset, **values}, "campaign.yaml")


def test_there_are_three_presets() -> None:
    assert list(PRESETS) == ["quick", "standard", "accurate"]


@pytest.mark.parametrize(
    "key", ["functions_per_element", "nradmax_by_orders", "lmax_by_orders"], ids=lambda key: key
)
def test_the_basis_grows_from_preset_to_preset(key: str) -> None:
    quick, standard, accurate = (getattr(config(preset).basis, key) for preset in PRESETS)
    assert quick < standard < accurate


def test_only_quick_trains_beyond_the_linear_solution() -> None:
    assert [config(preset).fit.max_epochs > 0 for preset in PRESETS] == [True, False, False]


def test_quick_weighs_forces_more_than_the_others() -> None:
    quick, standard, accurate = (config(preset).loss_weights.kappa for preset in PRESETS)
    assert quick > standard == accurate


def test_no_preset_means_standard() -> None:
    assert CampaignConfig.parse({"elements": ["Si"]}, "campaign.yaml") == config("standard")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_of_a_preset_arrives(preset: str) -> None:
    resolved = config(preset).model_dump()
    assert fill_in(PRESETS[preset], resolved) == resolved


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_said_beats_the_preset_and_leaves_the_rest_of_it(preset: str) -> None:
    plain = config(preset).model_dump()
    said = config(preset, basis={"cutoff": 4.5}, fit={"max_epochs": 7}).model_dump()
    assert (said["basis"].pop("cutoff"), said["fit"].pop("max_epochs")) == (4.5, 7)
    del plain["basis"]["cutoff"], plain["fit"]["max_epochs"]
    assert said == plain


def test_said_values_stay_even_when_they_are_null_or_empty() -> None:
    assert fill_in({"a": None, "b": {}}, {"a": 1, "b": {"c": 2}, "d": 3}) == {"a": None, "b": {"c": 2}, "d": 3}


def test_a_mapping_is_not_filled_into_something_else() -> None:
    assert fill_in({"basis": 3}, {"basis": {"cutoff": 5.0}}) == {"basis": 3}


def test_filling_in_changes_neither_side() -> None:
    values, defaults = {"basis": {"cutoff": 4.0}}, {"basis": {"embedding": "linear"}}
    fill_in(values, defaults)
    assert values == {"basis": {"cutoff": 4.0}}
    assert defaults == {"basis": {"embedding": "linear"}}
