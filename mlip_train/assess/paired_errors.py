"""Whether a potential became worse than its parent, and whether that is more than chance."""

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from scipy.stats import t as student_t

from mlip_train.base.arrays import FloatArray
from mlip_train.evaluation.residuals import DIFFERENCES, Residual
from mlip_train.records.errors import MEASURES
from mlip_train.records.evaluation import ErrorRatio

__all__ = ["PairedErrors", "terms_of"]

_DOUBT: Final = 0.05  # one-sided
_SHARED_DOUBT: Final = 0.1  # of all config types together, any of which may be unlucky
_QUANTITIES: Final = tuple(DIFFERENCES)


def terms_of(residual: Residual) -> FloatArray:
    """What a structure adds to the sums that errors are means of.

    Returns
    -------
    array, shape (quantities, 3)
        Of each quantity of `DIFFERENCES`: how many differences there are, the sum of their absolute values,
        and the sum of their squares.
    """
    sizes = [np.abs(differences(residual)) for differences in DIFFERENCES.values()]
    return np.array([[float(size.size), float(size.sum()), float((size**2).sum())] for size in sizes])


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
        """Count what the potential predicts for a structure."""
        structure = residual.structure
        self._own[structure.structure_id] = terms_of(residual)
        self._types[structure.structure_id] = structure.config_type

    def add_parent(self, residual: Residual) -> None:
        """Count what its parent predicts for a structure."""
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
        for measure in MEASURES.values():
            if measure.power is None:
                continue
            place, root = _QUANTITIES.index(measure.quantity), 1 / measure.power
            a, b, n = ours[:, place, measure.power], theirs[:, place, measure.power], ours[:, place, 0].sum()
            if n and b.sum():
                yield ErrorRatio(
                    measure=measure.name,
                    on=on,
                    config_type=kind,
                    n_structures=len(names),
                    own=float((a.sum() / n) ** root),
                    parent=float((b.sum() / n) ** root),
                    at_least=_at_least(a, b, doubt) ** root,
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
