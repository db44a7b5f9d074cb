"""The gate: whether a potential is good enough to become the current one."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from scipy.stats import f as fisher_f

from mlip_train.config.assessment import Gate
from mlip_train.records.checks import Check
from mlip_train.records.errors import MEASURES, QUANTITIES, Quantity
from mlip_train.records.evaluation import ErrorRatio, Evaluation
from mlip_train.records.verdict import Verdict

__all__ = ["judge"]

_DOUBLED: Final = 2.0  # times the parent's error
_DOUBT: Final = 0.01  # that equal potentials differ as much on so few structures
_FEWEST: Final = 3  # structures; fewer tell nothing


def judge(gate: Gate, evaluation: Evaluation, checks: Sequence[Check]) -> Verdict:
    """Hold a potential against its parent on the same test structures, and against the required checks.

    An error on all test structures, or on those of earlier generations, counts as worse when it exceeds the
    parent's by more than `gate.max_regression` and by more than the choice of test structures explains, or is
    twice as large and by more than equal potentials would differ on so few structures. On those of a config type
    it has to be twice as large. A check that there was nothing for does not count against a potential.
    """
    reasons, notes = [], []
    tries = Counter((ratio.measure, ratio.on) for ratio in evaluation.ratios)  # each could differ by chance
    for ratio in evaluation.ratios:
        if ratio.measure not in gate.on or ratio.growth <= gate.max_regression or _is_negligible(ratio):
            continue
        found = _describe(ratio, evaluation.parent)
        if _is_worse(ratio, gate.max_regression, tries[ratio.measure, ratio.on]):
            reasons.append(f"{found} ({_allowed(ratio, gate)})")
        elif ratio.config_type is None:  # of each type there are so few that it would often be said
            notes.append(f"{found}, which so few cannot tell from chance")
    if evaluation.parent is not None:
        notes += _not_compared(gate, evaluation, evaluation.parent)
    for check in checks:
        if check.name in gate.require and check.passed is False:
            reasons.append(f"{check.name}: {check.finding}")
    return Verdict(accepted=not reasons, reasons=tuple(reasons), notes=tuple(notes))


def _not_compared(gate: Gate, evaluation: Evaluation, parent: int) -> Iterator[str]:
    compared = {ratio.measure for ratio in evaluation.ratios}
    for measure in gate.on:
        if measure not in compared:
            yield (
                f"the {MEASURES[measure].words} was not held against that of generation {parent}: there is no "
                "test structure that both know and for which DFT gives one"
            )


def _is_negligible(ratio: ErrorRatio) -> bool:
    return ratio.own < _quantity(ratio).negligible


def _is_worse(ratio: ErrorRatio, allowed: float, tries: int) -> bool:
    if ratio.n_structures < _FEWEST:
        return False
    is_chance = ratio.at_least <= 1 + allowed
    has_doubled = ratio.own > _DOUBLED * ratio.parent
    if ratio.config_type is not None:  # to become somewhat worse here is the price of becoming better elsewhere
        return has_doubled and (not is_chance or _is_beyond_doubt(ratio, tries))
    return not is_chance or (has_doubled and _is_beyond_doubt(ratio, tries))


def _is_beyond_doubt(ratio: ErrorRatio, tries: int) -> bool:
    """Whether an error is far larger, by an F test; of few structures the jackknife leaves nearly all open."""
    freedom = _quantity(ratio).independent * ratio.n_structures
    return ratio.own > math.sqrt(fisher_f.isf(_DOUBT / tries, freedom, freedom)) * ratio.parent


def _quantity(ratio: ErrorRatio) -> Quantity:
    return QUANTITIES[MEASURES[ratio.measure].quantity]


def _allowed(ratio: ErrorRatio, gate: Gate) -> str:
    if ratio.config_type is None:
        return f"at most {gate.max_regression:.0%} more is allowed"
    return "an error on a config type must not double"


def _describe(ratio: ErrorRatio, parent: int | None) -> str:
    measure = MEASURES[ratio.measure]
    which = {
        "all": "",
        "earlier": " of earlier generations",
        "config_type": f" of config type {ratio.config_type}",
    }
    return (
        f"the {measure.words} on {ratio.n_structures} test structures{which[ratio.on]} is {ratio.own:.3g} "
        f"{measure.unit}, {ratio.growth:.0%} above the {ratio.parent:.3g} {measure.unit} of generation {parent}"
    )
