"""What the data themselves say of a solution: the ridge, and how much stress may count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from mlip_train.ace.normal_equations import NormalEquations, Shares, Terms, sum_of
from mlip_train.base.arrays import FloatArray

__all__ = ["RIDGES", "Validated", "most_stress", "validate"]

RIDGES: Final = tuple(10.0**exponent for exponent in range(-14, -3))  # relative to the diagonal
_PATIENCE: Final = 1.005  # most that the loss of a ridge may exceed the smallest: small coefficients are worth it
_NOT_VALIDATED: Final = 1e-8  # the ridge where there is nothing to validate on
_MOST_GROWTH: Final = 1.03  # of the errors of energies and forces by stress
_REAL_GAIN: Final = 1 - 1e-6
_STRESS_SHARES: Final = tuple(10.0 ** (exponent / 4) for exponent in range(-24, 9))


class Validated(NamedTuple):
    """Root mean square errors on structures that were left out, and the ridge that they speak for."""

    ridge: float
    energy: float  # times the root of the weights; only ratios mean anything
    forces: float
    stress: float


def validate(folds: Sequence[Terms], shares: Shares) -> Validated:
    """Solve without each fold in turn; choose the largest ridge that is hardly worse than the best one there.

    Parameters
    ----------
    folds : sequence of Terms
        Each with some of the structures.
    shares : Shares
        Of the loss.
    """
    filled = [fold for fold in folds if fold.joint(shares).labels > 0.0]
    if len(filled) < 2:
        return Validated(_NOT_VALIDATED, np.nan, np.nan, np.nan)
    losses = _losses_left_out(filled, shares, lambda rest: rest.solutions(RIDGES))
    joint = losses @ np.array(shares)
    best = int(np.flatnonzero(joint <= _PATIENCE * joint.min())[-1])
    return Validated(RIDGES[best], *np.sqrt(losses[best]).tolist())


def most_stress(folds: Sequence[Terms], shares: Shares) -> tuple[Shares, Validated]:
    """Give stress the largest share for which no other error grows by more than 3 % on what is left out.

    It has none where its own error does not fall, or where it is in one fold only, which cannot tell.

    Parameters
    ----------
    folds : sequence of Terms
        Each with some of the structures.
    shares : Shares
        Of energies and forces.
    """
    without = validate(folds, shares._replace(stress=0.0))
    best = shares._replace(stress=0.0), without
    if sum(fold.stress.labels > 0.0 for fold in folds) < 2 or np.isnan(without.energy):
        return best
    at_ridge = _at_ridge(folds, best[0], without.ridge)
    low, high = 0, len(_STRESS_SHARES)
    while low < high:
        middle = (low + high) // 2
        tried = shares._replace(stress=_STRESS_SHARES[middle])
        if _is_bearable(_at_ridge(folds, tried, without.ridge), at_ridge, shares):
            low = middle + 1
        else:
            high = middle
    for share in reversed(_STRESS_SHARES[:low]):  # with a ridge of its own, one is hardly ever worse
        tried = shares._replace(stress=share)
        if _is_bearable(found := validate(folds, tried), without, shares):
            return tried, found
    return best


def _is_bearable(found: Validated, without: Validated, shares: Shares) -> bool:
    """Whether what counts in the loss grows by little, and the error of stress falls by more than rounding."""
    grown = any(
        share and now > _MOST_GROWTH * before
        for share, now, before in zip(shares[:2], found[1:3], without[1:3], strict=True)
    )
    return not grown and found.stress < _REAL_GAIN * without.stress


def _at_ridge(folds: Sequence[Terms], shares: Shares, ridge: float) -> Validated:
    (losses,) = _losses_left_out(folds, shares, lambda rest: [rest.solution(ridge)])
    return Validated(ridge, *np.sqrt(losses).tolist())


def _losses_left_out(
    folds: Sequence[Terms], shares: Shares, solve: Callable[[NormalEquations], Iterable[FloatArray]]
) -> FloatArray:
    """Losses of energy, forces and stress on each fold by the solutions without it, summed: (solutions, 3)."""
    whole = sum_of(folds, folds[0].energy.n).joint(shares)
    by_fold = [
        [[term.loss(solution) for term in fold] for solution in solve(whole - fold.joint(shares))]
        for fold in folds
    ]
    total: FloatArray = np.array(by_fold).sum(axis=0)
    return total
