from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlip_train.config.fit import LossWeights
from tests.mlip_train.config.parsing import parse, refusal

ENERGY_BASED = {"kind": "energy_based"}


@pytest.mark.parametrize("key", ["low_window", "upper_limit", "low_share", "energy_offset", "force_offset"])
def test_the_numbers_of_energy_based_weighting_are_positive(key: str) -> None:
    assert "greater than 0" in refusal(fit={"weighting": {**ENERGY_BASED, key: 0.0}})


def test_the_share_of_the_low_tier_is_at_most_one() -> None:
    assert "less than or equal to 1" in refusal(fit={"weighting": {**ENERGY_BASED, "low_share": 1.01}})


@pytest.mark.parametrize("upper_limit", [0.9, 1.0])
def test_the_low_window_lies_below_the_upper_limit(upper_limit: float) -> None:
    message = refusal(fit={"weighting": {**ENERGY_BASED, "low_window": 1.0, "upper_limit": upper_limit}})
    assert f"low_window 1.0 must be below upper_limit {upper_limit}" in message


def test_the_share_of_stress_is_beside_those_of_energies_and_forces() -> None:
    assert LossWeights(energy=1.5, force=0.5, stress=0.01).stress_share == pytest.approx(0.005)
    assert LossWeights().stress_share is None  # the data decide
    assert LossWeights(stress=0).stress_share == 0.0


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_weights_of_config_types_are_numbers_from_zero_up(weight: float) -> None:
    assert "weights.config_type.Surface" in refusal(weights={"config_type": {"Surface": weight}})


def test_something_must_be_learned() -> None:
    assert "cannot both be 0" in refusal(loss_weights={"energy": 0, "force": 0})


@given(energy=st.floats(0, 1e6), force=st.floats(0, 1e6))
def test_kappa_is_the_share_of_forces(energy: float, force: float) -> None:
    assume(energy + force > 0)
    kappa = LossWeights(energy=energy, force=force).kappa
    assert kappa == pytest.approx(float(Fraction(force) / (Fraction(energy) + Fraction(force))))


def test_kappa_of_huge_weights_is_still_their_ratio() -> None:
    try:
        weights = LossWeights(energy=1e308, force=1e308)
    except ValidationError:
        return
    assert weights.kappa == pytest.approx(0.5)


@pytest.mark.parametrize("rule", [{"max_structures": 5}, {"keep": ["liquid"]}])
def test_what_chooses_among_structures_needs_a_method_to_choose_by(rule: dict[str, Any]) -> None:
    assert f"{next(iter(rule))} chooses among structures; set method: maxvol" in refusal(active_set=rule)
    assert parse(active_set={"method": "maxvol"} | rule)


@pytest.mark.parametrize(("wrong", "accepted"), [(0, 1), (-3, 10**6)])
def test_at_least_one_structure_is_learned_from(wrong: int, accepted: int) -> None:
    def rule(n: int) -> dict[str, Any]:
        return {"method": "maxvol", "max_structures": n}

    assert "max_structures" in refusal(active_set=rule(wrong))
    assert parse(active_set=rule(accepted)).active_set.max_structures == accepted


@pytest.mark.parametrize(("members", "told"), [(1, "set it to 2 or more, or to 0"), (21, "less than or equal")])
def test_so_many_members_are_no_committee(members: int, told: str) -> None:
    message = refusal(committee={"members": members})
    assert "\n  committee.members: " in message
    assert told in message
