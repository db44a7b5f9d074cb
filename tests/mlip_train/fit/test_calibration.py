"""Whether the spread of a committee becomes a measure of errors, on made-up ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mlip_train.fit.calibration import calibrate

Arrays = list[NDArray[np.float64]]


def normal_errors(
    factor: float, n_members: int, *, exponent: float = 1.0, n: int = 600, seed: int = 1
) -> tuple[Arrays, Arrays]:
    """Errors of known width, `factor` times the true spread to a power; four atoms a structure."""
    random = np.random.default_rng(seed)
    spread = 0.1 ** random.uniform(1, 2.5, (n, 1, 1)) * np.ones((n, 4, 3))
    errors = random.normal(0, factor * spread**exponent)
    members = random.normal(0, spread, (n_members, n, 4, 3))
    return list(errors), list(np.sqrt(members.var(axis=0, ddof=1).mean(axis=2)))


@pytest.mark.parametrize("n_members", [5, 20])
@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_factor_by_which_a_spread_is_too_small_is_found(factor: float, n_members: int) -> None:
    found = calibrate(*normal_errors(factor, n_members))
    assert found is not None
    assert found.factor == pytest.approx(factor, rel=0.08)
    assert found.exponent > 0.9


@pytest.mark.parametrize("exponent", [0.3, 0.6])
def test_the_power_with_which_errors_go_is_found(exponent: float) -> None:
    errors, spreads = normal_errors(0.5, 20, exponent=exponent)
    found = calibrate(errors, spreads)
    assert found is not None
    assert found.exponent == pytest.approx(exponent, abs=0.05)
    for spread in (0.005, 0.05):
        assert found.calibrated(np.array(spread)) == pytest.approx(0.5 * spread**exponent, rel=0.1)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("n_members", [2, 5, 50])
def test_mean_squares_and_shares_are_those_of_the_errors(n_members: int, exponent: float) -> None:
    errors, spreads = normal_errors(3.0, n_members, exponent=exponent)
    found = calibrate(errors, spreads)
    assert found is not None
    calibrated = found.calibrated(np.concatenate(spreads))
    assert np.sqrt((calibrated**2).mean()) == pytest.approx(np.sqrt((np.concatenate(errors) ** 2).mean()))
    few = n_members == 2
    assert found.within_one == pytest.approx(0.683, abs=0.1 if few else 0.03)
    assert found.within_two == pytest.approx(0.954, abs=0.1 if few else 0.02)
    assert found.rank_correlation is not None
    assert found.rank_correlation > 0.8


def test_a_spread_that_knows_nothing_of_the_errors_becomes_their_mean_size() -> None:
    errors, spreads = normal_errors(1.0, 5)
    found = calibrate(errors, spreads[::-1])
    assert found is not None
    assert found.rank_correlation is not None
    assert abs(found.rank_correlation) < 0.15
    assert found.exponent < 0.1
    assert found.calibrated(np.array([0.01])) == pytest.approx(1e-3 * found.error, rel=0.15)


def test_beyond_what_was_tested_the_spread_counts_in_full() -> None:
    errors, spreads = normal_errors(0.5, 5, exponent=0.5)
    found = calibrate(errors, spreads)
    assert found is not None
    largest = 1e-3 * found.largest
    once, tenfold = found.calibrated(np.array([largest, 10 * largest]))
    assert tenfold == pytest.approx(10 * once)
    assert found.calibrated(np.array([0.0])) == 0.0


def test_of_few_structures_only_a_factor_is_learned() -> None:
    found = calibrate([np.array([[0.003]]), np.array([[-0.004]])], [np.array([0.001]), np.array([0.001])])
    assert found is not None
    assert (found.error, found.spread) == pytest.approx((np.sqrt((9 + 16) / 2), 1.0))
    assert (found.factor, found.exponent) == (pytest.approx(np.sqrt((9 + 16) / 2)), 1.0)
    assert (found.within_one, found.within_two, found.rank_correlation) == (0.5, 1.0, None)
    assert found.describe("meV/atom") == (
        "1 meV/atom for errors of 3.54 (50% of them within one calibrated standard deviation, 100% within two)"
    )


def test_atoms_whose_force_vanishes_by_symmetry_change_nothing() -> None:
    errors, spreads = normal_errors(2.0, 5, exponent=0.6)
    found = calibrate(errors, spreads)
    vanishing = calibrate([*errors, *np.zeros((600, 4, 3))], [*spreads, *np.zeros((600, 4))])
    assert found is not None
    assert vanishing is not None
    assert vanishing.exponent == pytest.approx(found.exponent, abs=1e-6)
    np.testing.assert_allclose(vanishing.calibrated(np.array([0.01])), found.calibrated(np.array([0.01])))


def test_members_that_do_not_differ_are_not_calibrated() -> None:
    assert calibrate([np.array([[0.003]])] * 4, [np.array([1e-17])] * 4) is None


def test_a_potential_without_errors_has_no_uncertainty() -> None:
    found = calibrate([np.zeros((4, 3))] * 4, [np.full(4, 0.01)] * 4)
    assert found is not None
    assert found.factor == 0.0
