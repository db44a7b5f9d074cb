"""Errors of a deployed potential against DFT, computed with the file that MD codes run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from mlip_train.errors import InputError
from mlip_train.gate import Measure
from mlip_train.model import FrozenModel
from mlip_train.predictions import Deployed, Prediction, predict
from mlip_train.structures import Structure

__all__ = [
    "ElementErrors",
    "ErrorRatio",
    "Errors",
    "Evaluation",
    "Grades",
    "Residual",
    "SplitErrors",
    "Summary",
    "WorstStructure",
    "evaluate",
    "summarise",
]

_N_WORST = 10  # structures that a person looks at


class Errors(FrozenModel):
    """Differences to DFT over a set of structures."""

    n_structures: int
    n_atoms: int
    energy_rmse: float  # meV/atom
    energy_mae: float  # meV/atom
    force_rmse: float  # meV/Å, over components
    force_mae: float  # meV/Å, over components
    energy_max: float | None = None  # meV/atom; bundles of earlier versions lack these three and stress_max
    force_max: float | None = None  # meV/Å, over components
    force_vector_rmse: float | None = None  # meV/Å, over the lengths of the differences
    stress_rmse: float | None = None  # GPa, over Voigt components
    stress_mae: float | None = None  # GPa
    stress_max: float | None = None  # GPa

    def __str__(self) -> str:
        return (
            f"energy {self.energy_rmse:.1f} meV/atom, force {self.force_rmse:.0f} meV/Å RMSE "
            f"on {self.n_structures} structures"
        )


class ElementErrors(FrozenModel):
    """Differences of the forces on the atoms of one element."""

    n_atoms: int
    force_rmse: float  # meV/Å, over components
    force_mae: float  # meV/Å, over components
    force_max: float  # meV/Å, over components


class SplitErrors(FrozenModel):
    """Errors over a split, over each of its config types, and of the forces on each element."""

    overall: Errors
    by_config_type: dict[str, Errors]
    by_element: dict[str, ElementErrors] = {}


class Grades(FrozenModel):
    """Largest extrapolation grade of each structure, over a set of them."""

    n_structures: int
    median: float
    percentile_95: float
    largest: float
    n_above_one: int  # structures that reach beyond what the fit learned from


class ErrorRatio(FrozenModel):
    """An error of a potential beside that of its parent, on exactly the same test structures."""

    measure: Measure
    on: Literal["all", "earlier", "config_type"]  # earlier: those that were there when the parent was trained
    config_type: str | None = None
    n_structures: int
    own: float  # meV/atom, meV/Å or GPa
    parent: float  # the same
    at_least: float  # own / parent, lower end of what chance leaves open; see `PairedErrors`

    @property
    def growth(self) -> float:
        """By which share the error grew."""
        return self.own / self.parent - 1


class WorstStructure(FrozenModel):
    """A structure on which a potential is far from DFT."""

    structure_id: str
    source: str
    frame: int
    config_type: str
    n_atoms: int
    energy_error: float  # meV/atom, predicted minus DFT
    force_rmse: float  # meV/Å, over components
    force_max: float  # meV/Å, over components
    gamma: float | None  # largest extrapolation grade in it


class Evaluation(FrozenModel):
    """Errors of one potential, and of its parent where that can be compared."""

    train: SplitErrors
    test: SplitErrors | None
    trainer_disagreement: float  # eV/atom, largest over the training set
    before: SplitErrors | None = None  # of the parent, on the same test set
    new: SplitErrors | None = None  # of the parent, on what this generation brought
    parent: int | None = None  # its generation
    file_energy_difference: float | None = None  # eV/atom, largest between B-basis and exported file
    file_force_difference: float | None = None  # eV/Å, the same
    compared: SplitErrors | None = None  # on what `before` is measured on, where that is not the whole test set
    ratios: tuple[ErrorRatio, ...] = ()  # to the errors of the parent
    grades: Grades | None = None  # on the test set
    worst: tuple[WorstStructure, ...] = ()  # of the test set (else of the training set), by force RMSE

    @property
    def comparable(self) -> SplitErrors | None:
        """Errors on exactly those test structures that `before` is measured on."""
        return self.compared or self.test

    def __str__(self) -> str:
        test = "no test set" if self.test is None else f"test set: {self.test.overall}"
        before = "" if self.before is None else f" (its parent: {self.before.overall})"
        return f"{test}{before}; training set: {self.train.overall}"


@dataclass(frozen=True)
class Residual:
    """What a potential predicts for one structure, beside what DFT says."""

    structure: Structure
    prediction: Prediction
    reference: float  # eV, of the free atoms, which predictions leave out

    @property
    def energy(self) -> float:
        """Predicted minus DFT, eV/atom."""
        return (self.prediction.energy + self.reference - self.structure.energy) / len(self.structure.numbers)

    @property
    def forces(self) -> NDArray[np.float64]:
        """Predicted minus DFT, eV/Å; shape (n, 3)."""
        return self.prediction.forces - self.structure.forces

    @property
    def stress(self) -> NDArray[np.float64] | None:
        """Predicted minus DFT, eV/Å³; shape (6,)."""
        if self.prediction.stress is None or self.structure.stress is None:
            return None
        return self.prediction.stress - self.structure.stress


def evaluate(
    potential: Deployed, structures: Iterable[Structure], reference_energies: Mapping[str, float]
) -> Iterator[Residual]:
    """Compare a potential with DFT, structure by structure, in order, on all cores.

    Parameters
    ----------
    potential : Deployed
        The exported file with its baseline.
    structures : iterable of Structure
        DFT results; streamed, so memory does not grow with their number.
    reference_energies : mapping of element to float
        Energies in eV that were subtracted before the fit.

    Raises
    ------
    InputError
        When a structure holds an element that the potential was not trained on.
    InconsistentPotentialError
        When a prediction is not a finite number.
    """
    known = (_with_known_elements(structure, potential, reference_energies) for structure in structures)
    for structure, prediction in predict(potential, known):
        reference = sum(reference_energies[symbol] for symbol in structure.symbols)
        yield Residual(structure, prediction, reference)


def _with_known_elements(
    structure: Structure, potential: Deployed, reference_energies: Mapping[str, float]
) -> Structure:
    if unknown := set(structure.symbols) - set(reference_energies):
        raise InputError(
            f"{structure.source} frame {structure.frame} contains {', '.join(sorted(unknown))}, which "
            f"{potential.yace} was not trained on (it knows {', '.join(reference_energies)}); leave that "
            "structure out"
        )
    return structure


class Summary:
    """Errors of a stream of residuals; apart from one grade per structure it does not grow with them."""

    def __init__(self) -> None:
        self._overall = _Sums()
        self._by_type: dict[str, _Sums] = {}
        self._by_element: dict[str, _Sum] = {}
        self._grades: list[float] = []
        self._worst: list[tuple[float, int, WorstStructure]] = []
        self.energy_difference = 0.0  # eV/atom, largest between the exported file and its B-basis
        self.force_difference = 0.0  # eV/Å, the same

    def add(self, residual: Residual) -> None:
        """Take one in."""
        structure, graded = residual.structure, residual.prediction.graded
        for sums in (self._overall, self._by_type.setdefault(structure.config_type, _Sums())):
            sums.add(residual)
        symbols = np.array(structure.symbols)
        for element in dict.fromkeys(structure.symbols):
            self._by_element.setdefault(element, _Sum()).add(1e3 * residual.forces[symbols == element])
        if graded is not None:
            self._grades.append(graded.gamma)
            self.energy_difference = max(self.energy_difference, graded.energy_difference)
            self.force_difference = max(self.force_difference, graded.force_difference)
        self._note_if_bad(residual)

    def _note_if_bad(self, residual: Residual) -> None:
        worst = _as_worst(residual)
        entry = (worst.force_rmse, -self.n_structures, worst)  # of equals the first
        if len(self._worst) < _N_WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    @property
    def n_structures(self) -> int:
        """How many there were."""
        return self._overall.energy.n

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
    """Of absolute differences; it does not grow with their number."""

    n: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    largest: float = 0.0

    def add(self, differences: NDArray[np.float64]) -> None:
        sizes = np.abs(differences)
        self.n += sizes.size
        self.absolute += float(sizes.sum())
        self.squared += float((sizes**2).sum())
        self.largest = max(self.largest, float(sizes.max(initial=0.0)))

    @property
    def mae(self) -> float:
        return self.absolute / self.n

    @property
    def rmse(self) -> float:
        return math.sqrt(self.squared / self.n)


@dataclass
class _Sums:
    """In meV/atom, meV/Å and GPa."""

    energy: _Sum = field(default_factory=_Sum)
    force: _Sum = field(default_factory=_Sum)
    vector: _Sum = field(default_factory=_Sum)
    stress: _Sum = field(default_factory=_Sum)

    def add(self, residual: Residual) -> None:
        self.energy.add(1e3 * np.array([residual.energy]))
        self.force.add(1e3 * residual.forces)
        self.vector.add(1e3 * np.linalg.norm(residual.forces, axis=1))
        if residual.stress is not None:
            self.stress.add(residual.stress / GPa)

    def errors(self) -> Errors:
        stress = self.stress if self.stress.n else None
        return Errors(
            n_structures=self.energy.n,
            n_atoms=self.vector.n,
            energy_rmse=self.energy.rmse,
            energy_mae=self.energy.mae,
            energy_max=self.energy.largest,
            force_rmse=self.force.rmse,
            force_mae=self.force.mae,
            force_max=self.force.largest,
            force_vector_rmse=self.vector.rmse,
            stress_rmse=stress.rmse if stress else None,
            stress_mae=stress.mae if stress else None,
            stress_max=stress.largest if stress else None,
        )


def _of_element(sum_: _Sum) -> ElementErrors:
    return ElementErrors(n_atoms=sum_.n // 3, force_rmse=sum_.rmse, force_mae=sum_.mae, force_max=sum_.largest)


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
