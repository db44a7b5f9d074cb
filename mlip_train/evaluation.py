"""Errors of an exported potential, computed with the evaluator that MD codes use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from ase.units import GPa
from numpy.typing import NDArray

from mlip_train.deployed import deployed_calculator
from mlip_train.errors import InconsistentPotentialError, InputError
from mlip_train.model import FrozenModel
from mlip_train.priors import PairPotential
from mlip_train.structures import Structure

__all__ = ["Errors", "Evaluation", "SplitErrors", "evaluate", "trainer_disagreement"]

# Exported file and trainer are two implementations; a healthy pair agrees to about 5e-6 eV/atom.
TRAINER_TOLERANCE = 1e-5  # eV/atom


class Errors(FrozenModel):
    """Differences to DFT over a set of structures."""

    n_structures: int
    n_atoms: int
    energy_rmse: float  # meV/atom
    energy_mae: float  # meV/atom
    force_rmse: float  # meV/Å, over components
    force_mae: float  # meV/Å, over components
    stress_rmse: float | None = None  # GPa, over Voigt components
    stress_mae: float | None = None  # GPa

    def __str__(self) -> str:
        return (
            f"energy {self.energy_rmse:.1f} meV/atom, force {self.force_rmse:.0f} meV/Å RMSE "
            f"on {self.n_structures} structures"
        )


class SplitErrors(FrozenModel):
    """Errors over a split, and over each of its config types."""

    overall: Errors
    by_config_type: dict[str, Errors]


class Evaluation(FrozenModel):
    """Errors of one potential on the training set and the fixed test set."""

    train: SplitErrors
    test: SplitErrors | None
    trainer_disagreement: float  # eV/atom, largest over the training set
    before: SplitErrors | None = None  # of the potential that was current before, on the same test set

    def __str__(self) -> str:
        test = "no test set" if self.test is None else f"test set: {self.test.overall}"
        before = "" if self.before is None else f" (its parent: {self.before.overall})"
        return f"{test}{before}; training set: {self.train.overall}"


@dataclass
class _Residuals:
    energy: list[float] = field(default_factory=list)  # eV/atom
    forces: list[NDArray[np.float64]] = field(default_factory=list)  # eV/Å
    stress: list[NDArray[np.float64]] = field(default_factory=list)  # eV/Å³

    def summary(self) -> Errors:
        energy = 1e3 * np.array(self.energy)
        forces = 1e3 * np.concatenate(self.forces)
        stress = np.concatenate(self.stress) / GPa if self.stress else None
        return Errors(
            n_structures=len(energy),
            n_atoms=len(forces),
            energy_rmse=_rms(energy),
            energy_mae=float(np.abs(energy).mean()),
            force_rmse=_rms(forces),
            force_mae=float(np.abs(forces).mean()),
            stress_rmse=None if stress is None else _rms(stress),
            stress_mae=None if stress is None else float(np.abs(stress).mean()),
        )


def evaluate(
    yace: Path,
    structures: Iterable[Structure],
    reference_energies: Mapping[str, float],
    baseline: PairPotential | None,
    on_structure: Callable[[Structure, float], None] = lambda structure, energy: None,
) -> SplitErrors | None:
    """Compare an exported potential with DFT, structure by structure.

    Parameters
    ----------
    yace : Path
        The exported potential.
    structures : iterable of Structure
        DFT results; streamed, so memory does not grow with their number (but for the residuals).
    reference_energies : mapping of element to float
        Energies in eV that were subtracted before the fit.
    baseline : PairPotential or None
        What else was subtracted; it is added to the predictions.
    on_structure : callable
        Called with each structure and its predicted energy (eV, relative to the references).

    Returns
    -------
    SplitErrors or None
        None when there are no structures.

    Raises
    ------
    InputError
        When a structure holds an element that the potential was not trained on.
    InconsistentPotentialError
        When a prediction is not a finite number.
    """
    calculator = deployed_calculator(yace, baseline)
    overall = _Residuals()
    by_type: dict[str, _Residuals] = {}
    for structure in structures:
        if unknown := set(structure.symbols) - set(reference_energies):
            raise InputError(
                f"{structure.source} frame {structure.frame} contains {', '.join(sorted(unknown))}, which {yace} "
                f"was not trained on (it knows {', '.join(reference_energies)}); leave that structure out"
            )
        atoms = structure.to_atoms()
        calculator.calculate(atoms)
        predicted = calculator.results
        if not np.isfinite(predicted["energy"]) or not np.isfinite(predicted["forces"]).all():
            raise InconsistentPotentialError(
                f"{yace} predicts numbers that are not finite for {structure.source} frame {structure.frame}; "
                "the potential is of no use. Train it again with more, or more varied, data"
            )
        shift = sum(reference_energies[symbol] for symbol in structure.symbols)
        on_structure(structure, float(predicted["energy"]))
        for residuals in (overall, by_type.setdefault(structure.config_type, _Residuals())):
            residuals.energy.append((predicted["energy"] + shift - structure.energy) / len(atoms))
            residuals.forces.append(predicted["forces"] - structure.forces)
            if structure.stress is not None and structure.pbc.all():
                residuals.stress.append(predicted["stress"] - structure.stress)
    if not overall.energy:
        return None
    return SplitErrors(
        overall=overall.summary(),
        by_config_type={name: residuals.summary() for name, residuals in sorted(by_type.items())},
    )


def trainer_disagreement(train_predictions: Path, exported: Mapping[str, tuple[float, int]]) -> float:
    """Largest difference (eV/atom) between the trainer's energies and those of the exported file.

    Parameters
    ----------
    train_predictions : Path
        The engine's `train_pred.pckl.gzip`.
    exported : mapping of structure_id to (energy in eV, number of atoms)
        What the exported file predicts.

    Raises
    ------
    InconsistentPotentialError
        When they differ by more than `TRAINER_TOLERANCE`, or no structure is common to both.
    """
    table = pd.read_pickle(train_predictions, compression="gzip")  # written by our own engine
    differences = {
        name: abs(float(np.ravel(energy)[0]) - exported[name][0]) / exported[name][1]
        for name, energy in zip(table["name"], table["energy_pred"], strict=True)
        if name in exported
    }
    if not differences:
        raise InconsistentPotentialError(f"{train_predictions} holds none of the training structures")
    worst = list(differences)[int(np.argmax(list(differences.values())))]  # NaN counts as the largest
    if not differences[worst] <= TRAINER_TOLERANCE:
        raise InconsistentPotentialError(
            f"the exported potential and the trainer differ by {differences[worst]:.3g} eV/atom on structure "
            f"{worst[:12]} (at most {TRAINER_TOLERANCE:g} is numerical noise), so the file is not what was "
            "trained. It was not published. If 'reference' has large numbers, take smaller ones; else report it"
        )
    return differences[worst]


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))
