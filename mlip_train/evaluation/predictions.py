"""What an exported potential predicts for stored structures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlip_train.atoms.pair_potentials import PairPotential
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.parallel import in_chunks, over_chunks
from mlip_train.errors import InconsistentPotentialError
from mlip_train.potential.calculator import calculator_of

__all__ = ["Exported", "Graded", "Prediction", "predict"]


class Graded(NamedTuple):
    """What the B-basis of the same potential says of a structure."""

    gamma: float  # largest extrapolation grade in it
    energy_difference: float  # eV/atom, to the file that MD codes run
    force_difference: float  # eV/Å, largest component


class Prediction(NamedTuple):
    """What a potential predicts for a structure."""

    energy: float  # eV, relative to the reference energies
    baseline_energy: float  # eV, the part of it that is not ACE's
    forces: FloatArray  # (n, 3), eV/Å
    stress: FloatArray | None  # (6,), eV/Å³; None for a cluster
    graded: Graded | None = None


@dataclass(frozen=True)
class Exported:
    """The files of an exported potential to predict with; what they hold is known by when they were written."""

    yace: Path
    baseline: PairPotential | None
    bbasis: Path | None  # to grade with, which takes longer
    active_set: Path | None
    written: int  # ns

    @classmethod
    def of(
        cls,
        yace: Path,
        baseline: PairPotential | None,
        bbasis: Path | None = None,
        active_set: Path | None = None,
    ) -> Exported:
        """Name a potential as it is now; with a B-basis and its active set, structures are graded too."""
        return cls(yace, baseline, bbasis, active_set, yace.stat().st_mtime_ns)

    def __hash__(self) -> int:
        return hash((self.yace, self.bbasis, self.written))

    def make(self) -> tuple[Any, Any | None]:
        """Load the calculator of the exported file, and that of the B-basis."""
        grading = calculator_of(self.bbasis, self.baseline, self.active_set) if self.bbasis else None
        return calculator_of(self.yace, self.baseline), grading


def predict(potential: Exported, structures: Iterable[Structure]) -> Iterator[tuple[Structure, Prediction]]:
    """Stream predictions, in order, from all cores; memory does not grow with the number of structures.

    Raises
    ------
    InconsistentPotentialError
        When a prediction is not a finite number.
    """
    for chunk, predicted in over_chunks(_predict, potential, in_chunks(structures)):
        for structure, prediction in zip(chunk, predicted, strict=True):
            if not _is_finite(prediction):
                raise InconsistentPotentialError(
                    f"{potential.yace} predicts numbers that are not finite for {structure.source} frame "
                    f"{structure.frame}; the potential is of no use. Train it again with more varied data"
                )
            yield structure, prediction


def _is_finite(prediction: Prediction) -> bool:
    graded = () if prediction.graded is None else prediction.graded
    parts = (prediction.energy, prediction.forces, () if prediction.stress is None else prediction.stress, graded)
    return all(np.isfinite(part).all() for part in parts)


def _predict(
    calculators: tuple[Any, Any | None], chunk: list[Structure]
) -> tuple[list[Structure], list[Prediction]]:
    calculator, grading = calculators
    predicted = []
    for structure in chunk:
        atoms = structure.to_atoms()
        calculator.calculate(atoms)
        results = calculator.results
        energy, forces = float(results["energy"]), np.array(results["forces"])
        stress = np.array(results["stress"]) if structure.pbc.all() else None
        graded = None
        if grading is not None:
            grading.calculate(atoms)
            graded = Graded(
                gamma=float(np.max(grading.results["gamma"])),
                energy_difference=abs(float(grading.results["energy"]) - energy) / len(atoms),
                force_difference=float(np.abs(grading.results["forces"] - forces).max()),
            )
        predicted.append(Prediction(energy, results.get("baseline_energy", 0.0), forces, stress, graded))
    return chunk, predicted
