from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlip_train.check import Check
from mlip_train.config import CampaignConfig
from mlip_train.errors import ConfigError
from mlip_train.evaluation import ErrorRatio, Errors, Evaluation, Residual, SplitErrors
from mlip_train.gate import Gate
from mlip_train.judging import judge
from mlip_train.predictions import Prediction
from mlip_train.regression import PairedErrors
from mlip_train.structures import Structure

ERRORS = Errors(n_structures=9, n_atoms=9, energy_rmse=2, energy_mae=1, force_rmse=20, force_mae=10)
SPLIT = SplitErrors(overall=ERRORS, by_config_type={})


def evaluation(*ratios: ErrorRatio) -> Evaluation:
    return Evaluation(train=SPLIT, test=SPLIT, trainer_disagreement=0.0, parent=3, before=SPLIT, ratios=ratios)


def ratio(growth: float, at_least: float, **changes: Any) -> ErrorRatio:
    told: dict[str, Any] = {"measure": "force_rmse", "on": "all", "n_structures": 9, "own": 20 * (1 + growth)}
    return ErrorRatio(**(told | {"parent": 20.0, "at_least": at_least} | changes))


# --- the gate ---


def test_without_a_parent_and_without_failed_checks_a_potential_is_accepted() -> None:
    assert judge(Gate(), evaluation(), []).accepted


def test_an_error_that_grew_beyond_chance_is_a_reason_in_words() -> None:
    verdict = judge(Gate(), evaluation(ratio(0.3, 1.1)), [])
    assert str(verdict) == (
        "rejected: the force RMSE on 9 test structures is 26 meV/Å, 30% above the 20 meV/Å of generation 3 "
        "(at most 5% more is allowed)"
    )


def test_earlier_test_structures_are_told_apart() -> None:
    (reason,) = judge(Gate(), evaluation(ratio(0.3, 1.1, on="earlier")), []).reasons
    assert "on 9 test structures of earlier generations is" in reason


@pytest.mark.parametrize(
    ("growth", "at_least", "max_regression", "accepted", "noted"),
    [
        (0.04, 1.02, 0.05, True, False),  # less than is allowed
        (0.3, 1.06, 0.05, False, False),
        (0.3, 1.04, 0.05, True, True),  # more than is allowed, but chance may explain it
        (0.3, 1.1, 0.4, True, False),
        (0.01, 1.001, 0.0, False, False),
        (0.99, 0.5, 0.05, True, True),
        (1.01, 0.0, 0.05, False, False),  # twice as wrong, however few structures there are
    ],
)
def test_what_is_worse_is_a_matter_of_size_and_of_chance(
    growth: float, at_least: float, max_regression: float, accepted: bool, noted: bool
) -> None:
    gate = Gate(max_regression=max_regression, on=("force_rmse",))
    verdict = judge(gate, evaluation(ratio(growth, at_least)), [])
    assert verdict.accepted is accepted
    assert bool(verdict.notes) is noted


@pytest.mark.parametrize(("own", "accepted"), [(0.05, True), (0.2, False)])
def test_errors_that_do_not_matter_may_grow(own: float, accepted: bool) -> None:
    assert judge(Gate(), evaluation(ratio(9, 9, own=own, parent=own / 10)), []).accepted is accepted


@pytest.mark.parametrize(("n", "accepted"), [(2, True), (3, False)])
def test_two_structures_reject_nothing_even_if_they_agree(n: int, accepted: bool) -> None:
    assert judge(Gate(), evaluation(ratio(9.0, 8.0, n_structures=n)), []).accepted is accepted


def test_a_config_type_may_become_somewhat_worse() -> None:
    assert judge(Gate(), evaluation(ratio(0.9, 1.8, on="config_type", config_type="Vacancy")), []).accepted


@pytest.mark.parametrize(("n", "accepted"), [(2, True), (3, False)])
def test_one_or_two_structures_of_a_config_type_may_double(n: int, accepted: bool) -> None:
    doubled = ratio(1.5, 0.0, on="config_type", config_type="Vacancy", n_structures=n)
    verdict = judge(Gate(on=("force_rmse",)), evaluation(doubled), [])
    assert verdict.accepted is accepted
    assert verdict.notes == ()


@pytest.mark.parametrize(
    ("measure", "n", "growth", "accepted"),
    [
        ("energy_rmse", 1, 9.0, True),  # one energy is right by accident more often than not
        ("energy_rmse", 3, 4.0, True),
        ("energy_rmse", 3, 5.0, False),
        ("energy_rmse", 20, 1.1, False),
        ("force_rmse", 2, 9.0, True),  # nor do two tell more
        ("force_rmse", 3, 9.0, False),
    ],
)
def test_what_counts_as_doubled_depends_on_how_few_they_are(
    measure: str, n: int, growth: float, accepted: bool
) -> None:
    told = evaluation(ratio(growth, 0.0, measure=measure, n_structures=n))
    assert judge(Gate(), told, []).accepted is accepted


def test_of_many_config_types_one_may_be_unlucky() -> None:
    def told(n_types: int) -> Evaluation:
        types = [ratio(1.5, 0.0, on="config_type", config_type=str(n), n_structures=3) for n in range(n_types)]
        return evaluation(*types)

    assert not judge(Gate(), told(1), []).accepted
    assert judge(Gate(), told(15), []).accepted


def test_only_the_errors_that_are_asked_for_count() -> None:
    worse = evaluation(ratio(0.5, 1.4))
    assert judge(Gate(on=("energy_rmse",)), worse, []).accepted
    assert not judge(Gate(on=("energy_rmse", "force_rmse")), worse, []).accepted


def test_what_could_not_be_compared_is_noted() -> None:
    verdict = judge(Gate(on=("force_rmse", "stress_rmse")), evaluation(ratio(0.0, 0.9)), [])
    assert verdict.accepted
    (note,) = verdict.notes
    assert note.startswith("the stress RMSE was not held against that of generation 3")
    first = evaluation().model_copy(update={"parent": None})
    assert judge(Gate(), first, []).notes == ()


@pytest.mark.parametrize(
    ("passed", "require", "accepted"),
    [(True, ("nve",), True), (False, ("nve",), False), (None, ("nve",), True), (False, ("dimer",), True)],
)
def test_required_checks_must_not_fail(passed: bool | None, require: tuple[Any, ...], accepted: bool) -> None:
    verdict = judge(Gate(require=require), evaluation(), [Check(name="nve", passed=passed, told="it heats up")])
    assert verdict.accepted is accepted
    assert verdict.reasons == (() if accepted else ("nve: it heats up",))


# --- how it is configured ---


@pytest.mark.parametrize(("said", "meant"), [("5 %", 0.05), ("12.5%", 0.125), (0.1, 0.1), (0, 0.0)])
def test_a_share_may_be_said_in_percent(said: object, meant: float) -> None:
    assert Gate.model_validate({"max_regression": said}).max_regression == pytest.approx(meant)


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
    with pytest.raises(ConfigError, match="gate"):
        CampaignConfig.parse({"elements": ["Si"], "gate": gate}, "campaign.yaml")


@pytest.mark.parametrize("physics", [{"dimer": False}, {"nve": None}])
def test_what_is_required_must_be_checked(physics: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"gate.require: {next(iter(physics))} is not checked"):
        CampaignConfig.parse({"elements": ["Si"], "physics": physics}, "campaign.yaml")


# --- chance ---


def residual(number: int, error: float, config_type: str) -> Residual:
    """Of a structure with a given error in each force component (meV/Å), and in its energy (meV/atom)."""
    n = 10
    known = Structure(
        numbers=np.full(n, 14, np.int32), positions=np.arange(3.0 * n).reshape(n, 3) + number, cell=np.eye(3) * 99,
        pbc=np.ones(3, bool), energy=0.0, forces=np.zeros((n, 3)), stress=None, config_type=config_type,
        source="test", frame=number,
    )  # fmt: skip
    return Residual(known, Prediction(1e-3 * error * n, np.full((n, 3), 1e-3 * error), None), reference=0.0)


def ratios(
    own: Sequence[float], parent: Sequence[float], n_earlier: int = 0, types: str = "a" * 99
) -> tuple[ErrorRatio, ...]:
    """Of force errors of structures, the first of which are earlier ones; a letter is the config type of each."""
    earlier = frozenset(residual(number, 1.0, "").structure.structure_id for number in range(n_earlier))
    pairs = PairedErrors(earlier)
    for number, error in enumerate(own):
        pairs.add_own(residual(number, error, types[number]))
    for number, error in enumerate(parent):
        pairs.add_parent(residual(number, error, types[number]))
    return pairs.ratios


def force_rmse(*told: Any, **options: Any) -> dict[str, ErrorRatio]:
    of_force = [ratio for ratio in ratios(*told, **options) if ratio.measure == "force_rmse"]
    return {ratio.config_type or ratio.on: ratio for ratio in of_force}


def test_a_ratio_holds_the_errors_of_both() -> None:
    found = force_rmse([3.0, 4.0], [1.0, 2.0])["all"]
    assert found.own == pytest.approx(np.sqrt((9 + 16) / 2))
    assert found.parent == pytest.approx(np.sqrt((1 + 4) / 2))
    assert found.n_structures == 2


def test_stress_is_compared_only_where_there_is_some() -> None:
    measures = {ratio.measure for ratio in ratios([1.0, 2.0], [1.0, 2.0])}
    assert measures == {"energy_rmse", "energy_mae", "force_rmse", "force_mae"}


def test_structures_that_the_parent_does_not_know_are_left_out() -> None:
    found = force_rmse([1.0, 1.0, 50.0], [1.0, 1.0])["all"]
    assert (found.n_structures, found.own) == (2, pytest.approx(1.0))


def test_the_earlier_structures_are_compared_for_themselves() -> None:
    found = force_rmse([9.0, 9.0, 1.0, 1.0], [1.0, 1.0, 90.0, 90.0], n_earlier=2)  # it learned what is wrong
    assert found["all"].growth < 0
    assert found["earlier"].growth == pytest.approx(8.0)
    assert found["earlier"].n_structures == 2


def test_each_config_type_is_compared_for_itself() -> None:
    found = force_rmse([1.0, 1.0, 90.0, 3.0], [1.0, 1.0, 99.0, 1.0], types="aabc")
    assert found["all"].growth < 0
    assert found["a"].growth == pytest.approx(0.0)
    assert found["c"].growth == pytest.approx(2.0)


def test_nothing_is_said_twice_where_all_are_earlier_and_of_one_type() -> None:
    assert set(force_rmse([1.0, 2.0], [1.0, 2.0], n_earlier=2)) == {"all"}


def test_the_same_growth_everywhere_is_not_chance() -> None:
    parent = np.random.default_rng(0).uniform(1, 100, 6)
    assert force_rmse(1.1 * parent, parent)["all"].at_least == pytest.approx(1.1)


def test_one_structure_tells_nothing() -> None:
    assert force_rmse([3.0], [1.0])["all"].at_least == 0.0


def test_a_growth_in_one_of_many_structures_may_be_chance() -> None:
    found = force_rmse([1.0] * 9 + [3.0], [1.0] * 10)["all"]
    assert found.growth > 0.3
    assert found.at_least < 1.0


@pytest.mark.parametrize("n", [3, 8, 30])
def test_equal_potentials_are_seldom_told_apart(n: int) -> None:
    random, false_alarms = np.random.default_rng(n), 0
    for _ in range(200):
        own, parent = (random.lognormal(3, 0.5, n) for _ in range(2))
        false_alarms += force_rmse(own, parent)["all"].at_least > 1.0
    assert false_alarms <= 0.1 * 200  # five percent are meant; heavy tails take a little more


@pytest.mark.parametrize(("n_types", "n_of_each"), [(1, 2), (1, 10), (5, 3), (15, 3)])
def test_a_potential_as_good_as_its_parent_is_seldom_rejected(n_types: int, n_of_each: int) -> None:
    random, n_rejected = np.random.default_rng(n_types), 0
    types, gate = "abcdefghijklmno"[:n_types] * n_of_each, Gate(on=("energy_rmse",))
    for _ in range(50):
        own, parent = random.normal(scale=20, size=(2, len(types)))
        told = evaluation(*ratios(own.tolist(), parent.tolist(), types=types))
        n_rejected += not judge(gate, told, []).accepted
    assert n_rejected <= 0.3 * 50  # five percent are meant on all, and ten on the config types together


def test_a_parent_without_any_error_is_not_divided_by() -> None:
    assert force_rmse([1.0, 1.0], [0.0, 0.0]) == {}
