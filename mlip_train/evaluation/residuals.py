"""What a potential predicts beside what DFT says, structure by structure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.units import GPa

from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.errors import InputError
from mlip_train.evaluation.predictions import Exported, Prediction, predict

__all__ = ["DIFFERENCES", "Residual", "evaluate"]


@dataclass(frozen=True)
class Residual:
    """What a potential predicts for one structure, beside what DFT says."""

    structure: Structure
    prediction: Prediction
    reference: float  # eV, reference energies of its atoms, which predictions leave out

    @property
    def energy(self) -> float:
        """Predicted minus DFT, eV/atom."""
        return (self.prediction.energy + self.reference - self.structure.energy) / len(self.structure.numbers)

    @property
    def forces(self) -> FloatArray:
        """Predicted minus DFT, eV/Å; shape (n, 3)."""
        return self.prediction.forces - self.structure.forces

    @property
    def stress(self) -> FloatArray | None:
        """Predicted minus DFT, eV/Å³; shape (6,)."""
        if self.prediction.stress is None or self.structure.stress is None:
            return None
        return self.prediction.stress - self.structure.stress


# Of each quantity of `records.errors.QUANTITIES` the differences in its unit; none where DFT gives no such value.
DIFFERENCES: Final[dict[str, Callable[[Residual], FloatArray]]] = {
    "energy": lambda residual: 1e3 * np.array([residual.energy]),
    "force": lambda residual: 1e3 * residual.forces,
    "force_vector": lambda residual: 1e3 * np.linalg.norm(residual.forces, axis=1),
    "stress": lambda residual: np.zeros(0) if residual.stress is None else residual.stress / GPa,
}


def evaluate(
    potential: Exported, structures: Iterable[Structure], reference_energies: Mapping[str, float]
) -> Iterator[Residual]:
    """Compare a potential with DFT, structure by structure, in order, on all cores.

    Parameters
    ----------
    potential : Exported
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
    structure: Structure, potential: Exported, reference_energies: Mapping[str, float]
) -> Structure:
    if unknown := set(structure.symbols) - set(reference_energies):
        raise InputError(
            f"{structure.source} frame {structure.frame} contains {', '.join(sorted(unknown))}, which "
            f"{potential.yace} was not trained on (it knows {', '.join(reference_energies)}); leave that "
            "structure out"
        )
    return structure
