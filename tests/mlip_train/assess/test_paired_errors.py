from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlip_train.assess.paired_errors import terms_of
from mlip_train.records.errors import QUANTITIES
from mlip_train.records.evaluation import ErrorRatio
from tests.mlip_train.assess.paired import ratios, residual


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
    assert measures == {"energy_rmse", "energy_mae", "force_rmse", "force_mae", "force_vector_rmse"}


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


def test_a_parent_without_any_error_is_not_divided_by() -> None:
    assert force_rmse([1.0, 1.0], [0.0, 0.0]) == {}


def test_a_structure_adds_counts_sizes_and_squares_of_each_quantity() -> None:
    terms = terms_of(residual(0, 2.0, ""))  # ten atoms, 2 meV/Å in each component and 2 meV/atom
    assert terms.shape == (len(QUANTITIES), 3)
    by_quantity = dict(zip(QUANTITIES, terms.tolist(), strict=True))
    assert by_quantity["energy"] == pytest.approx([1, 2, 4])
    assert by_quantity["force"] == pytest.approx([30, 60, 120])
    assert by_quantity["force_vector"] == pytest.approx([10, 20 * 3**0.5, 120])
    assert by_quantity["stress"] == [0, 0, 0]
