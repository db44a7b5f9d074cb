from __future__ import annotations

from typing import Any

import pytest

from mlip_train.config.assessment import CHECKS, Gate, Physics
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.records.errors import MEASURES
from tests.mlip_train.config.parsing import parse, refusal


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"on": ["force_rms"]}, "gate.on.0: 'force_rms' is unknown; did you mean 'force_rmse'?"),
        ({"require": ["nve", "dymer"]}, "gate.require.1: 'dymer' is unknown; did you mean 'dimer'?"),
        ({"require": ["wwwww"]}, "known keys: consistency, dimer, nve, symmetry, volume"),
    ],
)
def test_an_unknown_name_is_refused_and_the_nearest_one_named(gate: dict[str, Any], told: str) -> None:
    assert told in refusal(gate=gate)


def test_a_largest_error_is_no_mean_that_could_be_compared() -> None:
    assert "force_max" in MEASURES
    assert "gate.on.0: 'force_max' is unknown" in refusal(gate={"on": ["force_max"]})


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.power is not None])
def test_the_gate_may_compare_every_other_error(name: str) -> None:
    assert parse(gate={"on": [name]}).gate.on == (name,)


@pytest.mark.parametrize("name", CHECKS)
def test_the_gate_may_require_every_check(name: str) -> None:
    assert parse(gate={"require": [name]}).gate.require == (name,)


def test_every_check_says_what_it_asks_and_all_but_one_can_be_left_out() -> None:
    assert all(CHECKS.values())
    assert ["consistency", *Physics.model_fields] == list(CHECKS)


def test_a_form_offers_the_names() -> None:
    properties = CampaignConfig.model_json_schema()["$defs"]["Gate"]["properties"]
    assert properties["require"]["items"] == {"enum": list(CHECKS), "type": "string"}
    assert set(Gate().on) < set(properties["on"]["items"]["enum"]) < set(MEASURES)


@pytest.mark.parametrize(("said", "meant"), [("5 %", 0.05), ("12.5%", 0.125), (0.1, 0.1), (0, 0.0), ("0.2", 0.2)])
def test_a_share_may_be_written_in_per_cent(said: Any, meant: float) -> None:
    assert parse(gate={"max_regression": said}).gate.max_regression == pytest.approx(meant)


@pytest.mark.parametrize(
    "gate",
    [
        {"max_regression": "five %"},
        {"max_regression": "nan %"},
        {"max_regression": -0.1},
        {"max_regression": 5},
        {"on": ["rmse"]},
        {"requires": []},
    ],
)
def test_what_is_no_gate_is_refused(gate: dict[str, Any]) -> None:
    assert "\n  gate" in refusal(gate=gate)


@pytest.mark.parametrize("physics", [{"dimer": False}, {"nve": None}])
def test_what_is_required_must_be_checked(physics: dict[str, Any]) -> None:
    assert f"gate.require: {next(iter(physics))} is not checked" in refusal(physics=physics)
