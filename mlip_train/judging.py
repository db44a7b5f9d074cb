"""The gate: whether a potential is good enough to become the current one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from scipy.stats import f as fisher_f

from mlip_train.check import Check
from mlip_train.evaluation import ErrorRatio, Evaluation
from mlip_train.gate import Gate, Measure, Verdict

__all__ = ["judge"]

_TOLD: Final[dict[Measure, tuple[str, str]]] = {
    "energy_rmse": ("energy RMSE", "meV/atom"),
    "energy_mae": ("energy MAE", "meV/atom"),
    "force_rmse": ("force RMSE", "meV/Å"),
    "force_mae": ("force MAE", "meV/Å"),
    "stress_rmse": ("stress RMSE", "GPa"),
    "stress_mae": ("stress MAE", "GPa"),
}
# Below this no error matters: DFT itself is no better, and forces that symmetry forbids are rounding errors.
_NEGLIGIBLE: Final = {"meV/atom": 0.01, "meV/Å": 0.1, "GPa": 0.001}
_DOUBLED: Final = 2.0  # times the parent's error
_DOUBT: Final = 0.01  # that equal potentials differ as much on so few structures
_FEWEST: Final = 3  # structures; fewer tell nothing
_INDEPENDENT: Final = {"meV/atom": 1, "meV/Å": 3, "GPa": 6}  # errors of a structure, at least


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
        told = _told(ratio, evaluation.parent)
        if _is_worse(ratio, gate.max_regression, tries[ratio.measure, ratio.on]):
            reasons.append(f"{told} ({_allowed(ratio, gate)})")
        elif ratio.config_type is None:  # of each type there are so few that it would often be said
            notes.append(f"{told}, which so few cannot tell from chance")
    if evaluation.parent is not None:
        notes += _not_compared(gate, evaluation, evaluation.parent)
    for check in checks:
        if check.name in gate.require and check.passed is False:
            reasons.append(f"{check.name}: {check.told}")
    return Verdict(accepted=not reasons, reasons=tuple(reasons), notes=tuple(notes))


def _not_compared(gate: Gate, evaluation: Evaluation, parent: int) -> Iterator[str]:
    compared = {ratio.measure for ratio in evaluation.ratios}
    for measure in gate.on:
        if measure not in compared:
            yield (
                f"the {_TOLD[measure][0]} was not held against that of generation {parent}: there is no test "
                "structure that both know and DFT has told it of"
            )


def _is_negligible(ratio: ErrorRatio) -> bool:
    return ratio.own < _NEGLIGIBLE[_TOLD[ratio.measure][1]]


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
    freedom = _INDEPENDENT[_TOLD[ratio.measure][1]] * ratio.n_structures
    return ratio.own > math.sqrt(fisher_f.isf(_DOUBT / tries, freedom, freedom)) * ratio.parent


def _allowed(ratio: ErrorRatio, gate: Gate) -> str:
    if ratio.config_type is None:
        return f"at most {gate.max_regression:.0%} more is allowed"
    return "an error on a config type must not double"


def _told(ratio: ErrorRatio, parent: int | None) -> str:
    name, unit = _TOLD[ratio.measure]
    which = {
        "all": "",
        "earlier": " of earlier generations",
        "config_type": f" of config type {ratio.config_type}",
    }
    return (
        f"the {name} on {ratio.n_structures} test structures{which[ratio.on]} is {ratio.own:.3g} {unit}, "
        f"{ratio.growth:.0%} above the {ratio.parent:.3g} {unit} of generation {parent}"
    )
