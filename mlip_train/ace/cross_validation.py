"""What the data themselves say of a solution: the ridge, and how much stress may count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from mlip_train.ace.normal_equations import Shares, Terms, sum_of
from mlip_train.base.arrays import FloatArray

__all__ = ["RIDGES", "Validated", "most_stress", "validate"]

RIDGES: Final = tuple(10.0**exponent for exponent in range(-14, -3))  # relative to the diagonal
_PATIENCE: Final = 1.005  # most that the loss of a ridge may exceed the smallest: small coefficients are worth it
_NOT_VALIDATED: Final = 1e-8  # the ridge where there is nothing to validate on
_MOST_GROWTH: Final = 1.03  # of the errors of energies and forces by stress
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
    whole = sum_of(filled, filled[0].energy.n).joint(shares)
    losses: FloatArray = np.zeros((len(RIDGES), 3))
    for fold in filled:
        for number, solution in enumerate((whole - fold.joint(shares)).solutions(RIDGES)):
            losses[number] += [term.loss(solution) for term in fold]
    joint = losses @ np.array(shares)
    best = int(np.flatnonzero(joint <= _PATIENCE * joint.min())[-1])
    return Validated(RIDGES[best], *np.sqrt(losses[best]).tolist())


def most_stress(folds: Sequence[Terms], shares: Shares) -> tuple[Shares, Validated]:
    """Give stress the largest share for which no other error grows by more than 3 % on what is left out.

    Parameters
    ----------
    folds : sequence of Terms
        Each with some of the structures.
    shares : Shares
        Of energies and forces.
    """
    best = shares._replace(stress=0.0), validate(folds, shares._replace(stress=0.0))
    if not sum(fold.stress.labels for fold in folds) or np.isnan(best[1].energy):
        return best
    without, low, high = best[1], 0, len(_STRESS_SHARES)
    while low < high:  # the errors grow with the share
        middle = (low + high) // 2
        tried = shares._replace(stress=_STRESS_SHARES[middle])
        found = validate(folds, tried)
        is_worse = any(now > _MOST_GROWTH * before for now, before in zip(found[1:3], without[1:3], strict=True))
        if is_worse or found.stress > without.stress:
            high = middle
        else:
            best, low = (tried, found), middle + 1
    return best
