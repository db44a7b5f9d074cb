"""Errors over a stream of residuals."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mlip_train.base.arrays import FloatArray
from mlip_train.evaluation.residuals import DIFFERENCES, Residual
from mlip_train.records.errors import MEASURES, ElementErrors, Errors, SplitErrors
from mlip_train.records.evaluation import Grades, WorstStructure

__all__ = ["Summary", "summarise"]

_N_WORST = 10  # structures that a person looks at


class Summary:
    """Errors of a stream of residuals; apart from one grade per structure it does not grow with them."""

    def __init__(self) -> None:
        self.n_structures = 0
        self._overall = _Sums()
        self._by_type: dict[str, _Sums] = {}
        self._by_element: dict[str, _Sum] = {}
        self._grades: list[float] = []
        self._worst: list[tuple[float, int, WorstStructure]] = []

    def add(self, residual: Residual) -> None:
        """Count the residuals of one structure."""
        structure, graded = residual.structure, residual.prediction.graded
        for sums in (self._overall, self._by_type.setdefault(structure.config_type, _Sums())):
            sums.add(residual)
        symbols = np.array(structure.symbols)
        for element in dict.fromkeys(structure.symbols):
            self._by_element.setdefault(element, _Sum()).add(1e3 * residual.forces[symbols == element])
        if graded is not None:
            self._grades.append(graded.gamma)
        self._note_if_bad(residual)
        self.n_structures += 1

    def _note_if_bad(self, residual: Residual) -> None:
        worst = _as_worst(residual)
        entry = (worst.force_rmse, -self.n_structures, worst)  # of equals the first
        if len(self._worst) < _N_WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    @property
    def errors(self) -> SplitErrors | None:
        """None when there were no structures."""
        if not self.n_structures:
            return None
        return SplitErrors(
            overall=self._overall.errors(),
            by_config_type={name: sums.errors() for name, sums in sorted(self._by_type.items())},
            by_element={element: _of_element(sum_) for element, sum_ in sorted(self._by_element.items())},
        )

    @property
    def grades(self) -> Grades | None:
        """None when the structures were not graded."""
        if not self._grades:
            return None
        median, most, largest = np.percentile(self._grades, [50, 95, 100])
        above = int((np.array(self._grades) > 1.0).sum())
        return Grades(
            n_structures=len(self._grades),
            median=float(median),
            percentile_95=float(most),
            largest=float(largest),
            n_above_one=above,
        )

    @property
    def worst(self) -> tuple[WorstStructure, ...]:
        """The ten structures with the largest force RMSE, the worst one first."""
        return tuple(worst for _, _, worst in sorted(self._worst, key=lambda entry: entry[:2], reverse=True))


def summarise(residuals: Iterable[Residual]) -> Summary:
    """Go through a stream of residuals."""
    summary = Summary()
    for residual in residuals:
        summary.add(residual)
    return summary


@dataclass
class _Sum:
    """Sums over absolute differences, whose size does not grow with the number of differences."""

    n: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    largest: float = 0.0

    def add(self, differences: FloatArray) -> None:
        sizes = np.abs(differences)
        self.n += sizes.size
        self.absolute += float(sizes.sum())
        self.squared += float((sizes**2).sum())
        self.largest = max(self.largest, float(sizes.max(initial=0.0)))

    def value(self, statistic: str) -> float | None:
        """What the differences amount to; None where there are none."""
        if not self.n:
            return None
        return {"rmse": math.sqrt(self.squared / self.n), "mae": self.absolute / self.n, "max": self.largest}[
            statistic
        ]


class _Sums:
    """Sums over the differences of every quantity, in its unit."""

    def __init__(self) -> None:
        self._sums = {quantity: _Sum() for quantity in DIFFERENCES}

    def add(self, residual: Residual) -> None:
        for quantity, differences in DIFFERENCES.items():
            self._sums[quantity].add(differences(residual))

    def errors(self) -> Errors:
        values = {name: self._sums[one.quantity].value(one.statistic) for name, one in MEASURES.items()}
        counts = {"n_structures": self._sums["energy"].n, "n_atoms": self._sums["force_vector"].n}
        return Errors.model_validate({**counts, **values})


def _of_element(forces: _Sum) -> ElementErrors:
    values = {f"force_{statistic}": forces.value(statistic) for statistic in ("rmse", "mae", "max")}
    return ElementErrors.model_validate({"n_atoms": forces.n // 3, **values})


def _as_worst(residual: Residual) -> WorstStructure:
    structure, forces = residual.structure, 1e3 * residual.forces
    graded = residual.prediction.graded
    return WorstStructure(
        structure_id=structure.structure_id,
        source=structure.source,
        frame=structure.frame,
        config_type=structure.config_type,
        n_atoms=len(structure.numbers),
        energy_error=1e3 * residual.energy,
        force_rmse=float(np.sqrt((forces**2).mean())),
        force_max=float(np.abs(forces).max()),
        gamma=None if graded is None else graded.gamma,
    )
