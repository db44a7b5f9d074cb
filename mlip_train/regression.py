"""Whether a potential became worse than its parent, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray
from scipy.stats import t as student_t

from mlip_train.evaluation import ErrorRatio, Residual
from mlip_train.gate import Measure

__all__ = ["PairedErrors", "terms_of"]

FloatArray = NDArray[np.float64]

_DOUBT: Final = 0.05  # one-sided
_SHARED_DOUBT: Final = 0.1  # of all config types together, any of which may be unlucky
_MEASURES: Final[tuple[Measure, ...]] = (
    "energy_rmse", "energy_mae", "force_rmse", "force_mae", "stress_rmse", "stress_mae",
)  # fmt: skip
_UNITS: Final = (1e3, 1e3, 1 / GPa)  # meV/atom, meV/Å, GPa


def terms_of(residual: Residual) -> FloatArray:
    """What a structure adds to the sums that errors are means of.

    Returns
    -------
    array, shape (3, 3)
        For energy (meV/atom), force components (meV/Å) and stress components (GPa): the sum of squares, the sum of
        absolute values, and how many there are.
    """
    stress = residual.stress
    differences = (np.array([residual.energy]), residual.forces, np.zeros(0) if stress is None else stress)
    scaled = [unit * difference for unit, difference in zip(_UNITS, differences, strict=True)]
    return np.array([[float((d**2).sum()), float(np.abs(d).sum()), d.size] for d in scaled])


class PairedErrors:
    """What two potentials are wrong by on the same test structures, a few numbers for each.

    What chance leaves open has a one-sided confidence of 95 %; of 90 % for all config types together.

    Parameters
    ----------
    earlier : frozenset of structure_id
        Test structures that were there when the parent was trained.
    """

    def __init__(self, earlier: frozenset[str]) -> None:
        self._earlier = earlier
        self._own: dict[str, FloatArray] = {}
        self._parent: dict[str, FloatArray] = {}
        self._types: dict[str, str] = {}

    def add_own(self, residual: Residual) -> None:
        """Take in what the potential predicts."""
        structure = residual.structure
        self._own[structure.structure_id] = terms_of(residual)
        self._types[structure.structure_id] = structure.config_type

    def add_parent(self, residual: Residual) -> None:
        """Take in what its parent predicts."""
        self._parent[residual.structure.structure_id] = terms_of(residual)

    @property
    def ratios(self) -> tuple[ErrorRatio, ...]:
        """Errors of the one over those of the other: on all, on the earlier ones, and on each config type.

        New test structures are labelled as the new training structures are: what is wrong in both makes a fit that
        learned it look good. The earlier ones know nothing of it. And what was forgotten of one config type is
        lost among the errors of the others.
        """
        common = [name for name in self._own if name in self._parent]
        known = [name for name in common if name in self._earlier]
        ratios = [*self._ratios(common, "all")]
        if len(known) < len(common):
            ratios += self._ratios(known, "earlier")
        types = sorted({self._types[name] for name in common})
        for kind in types if len(types) > 1 else ():
            of_kind = [name for name in common if self._types[name] == kind]
            ratios += self._ratios(of_kind, "config_type", kind, _SHARED_DOUBT / len(types))
        return tuple(ratios)

    def _ratios(
        self,
        names: list[str],
        on: Literal["all", "earlier", "config_type"],
        kind: str | None = None,
        doubt: float = _DOUBT,
    ) -> Iterator[ErrorRatio]:
        if not names:
            return
        ours, theirs = (np.array([terms[name] for name in names]) for terms in (self._own, self._parent))
        for number, measure in enumerate(_MEASURES):
            quantity, is_mae = divmod(number, 2)
            power = 1.0 if is_mae else 0.5
            a, b, n = ours[:, quantity, is_mae], theirs[:, quantity, is_mae], ours[:, quantity, 2].sum()
            if n and b.sum():
                yield ErrorRatio(
                    measure=measure,
                    on=on,
                    config_type=kind,
                    n_structures=len(names),
                    own=float((a.sum() / n) ** power),
                    parent=float((b.sum() / n) ** power),
                    at_least=_at_least(a, b, doubt) ** power,
                )


def _at_least(a: FloatArray, b: FloatArray, doubt: float) -> float:
    """Lower end of what chance leaves open of sum(a) / sum(b), below which it is with the probability `doubt`.

    The standard error of its logarithm is that of the jackknife, which leaves out one structure at a time
    (Efron and Stein, Ann. Statist. 9, 586 (1981)); few structures are allowed for by Student's t. One alone tells
    nothing.
    """
    n = len(a)
    if n < 2:
        return 0.0
    tiny = np.finfo(float).tiny
    logarithm = np.log(max(a.sum(), tiny) / b.sum())
    without = np.log(np.maximum(a.sum() - a, tiny) / np.maximum(b.sum() - b, tiny))
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(np.exp(logarithm - student_t.isf(doubt, n - 1) * error))
