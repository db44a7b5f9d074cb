from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlip_train.assess.gate import judge
from mlip_train.config.assessment import Gate
from mlip_train.records.checks import Check
from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import ErrorRatio, Evaluation
from tests.mlip_train.assess.paired import ratios

ERRORS = Errors(n_structures=9, n_atoms=9, energy_rmse=2, energy_mae=1, force_rmse=20, force_mae=10)
SPLIT = SplitErrors(overall=ERRORS, by_config_type={})


def evaluation(*ratios: ErrorRatio) -> Evaluation:
    return Evaluation(train=SPLIT, test=SPLIT, parent=3, before=SPLIT, ratios=ratios)


def ratio(growth: float, at_least: float, **changes: Any) -> ErrorRatio:
    told: dict[str, Any] = {"measure": "force_rmse", "on": "all", "n_structures": 9, "own": 20 * (1 + growth)}
    return ErrorRatio(**(told | {"parent": 20.0, "at_least": at_least} | changes))


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
    verdict = judge(Gate(require=require), evaluation(), [Check(name="nve", passed=passed, finding="it heats up")])
    assert verdict.accepted is accepted
    assert verdict.reasons == (() if accepted else ("nve: it heats up",))


@pytest.mark.parametrize(("n_types", "n_of_each"), [(1, 2), (1, 10), (5, 3), (15, 3)])
def test_a_potential_as_good_as_its_parent_is_seldom_rejected(n_types: int, n_of_each: int) -> None:
    random, n_rejected = np.random.default_rng(n_types), 0
    types, gate = "abcdefghijklmno"[:n_types] * n_of_each, Gate(on=("energy_rmse",))
    for _ in range(50):
        own, parent = random.normal(scale=20, size=(2, len(types)))
        told = evaluation(*ratios(own.tolist(), parent.tolist(), types=types))
        n_rejected += not judge(gate, told, []).accepted
    assert n_rejected <= 0.3 * 50  # five percent are meant on all, and ten on the config types together
