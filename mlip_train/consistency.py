"""Whether the files that people deploy are what was trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from mlip_train.check import Check
from mlip_train.deployment import Deployment, close_and_export
from mlip_train.errors import EngineError, InconsistentPotentialError
from mlip_train.evaluation import Evaluation
from mlip_train.lammps_run import LammpsComparison
from mlip_train.planning import FitPlan

__all__ = ["TrainerDifference", "check_consistency", "trainer_difference"]

# Exported file and trainer are two implementations; a healthy pair agrees to about 5e-6 eV/atom.
TRAINER_TOLERANCE: Final = 1e-5  # eV/atom
# B-basis and exported file hold the same numbers for the same evaluator.
FILE_TOLERANCE: Final = 1e-8  # eV/atom and eV/Å


class TrainerDifference(NamedTuple):
    """Where the exported file is furthest from what the trainer predicted."""

    energy: float  # eV/atom
    structure_id: str


def trainer_difference(train_predictions: Path, exported: Mapping[str, tuple[float, int]]) -> TrainerDifference:
    """Largest difference between the trainer's energies and those of the exported file.

    Parameters
    ----------
    train_predictions : Path
        The engine's `train_pred.pckl.gzip`.
    exported : mapping of structure_id to (energy in eV, number of atoms)
        What the exported file predicts, without a baseline.

    Raises
    ------
    InconsistentPotentialError
        When no structure is common to both, or the trainer predicted what is not a number.
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
    if not np.isfinite(differences[worst]):
        raise InconsistentPotentialError(
            f"{train_predictions} predicts an energy that is not finite for structure {worst[:12]}; the "
            "potential is of no use. Train it again with more, or more varied, data"
        )
    return TrainerDifference(differences[worst], worst)


def check_consistency(
    plan: FitPlan,
    deployment: Deployment,
    evaluation: Evaluation,
    in_lammps: Callable[[], LammpsComparison | None],
) -> Check:
    """Compare trainer, B-basis, exported file and, where there is one, LAMMPS.

    Parameters
    ----------
    plan, deployment : FitPlan, Deployment
        What was trained, and how it was closed at short distance.
    evaluation : Evaluation
        Holds the differences on the training and test structures.
    in_lammps : callable
        Compares with LAMMPS; None where none with ML-PACE was found.
    """
    wrong = [*_contradictions(plan, evaluation), *_changed_files(plan, deployment)]
    numbers = {
        "trainer_eV_per_atom": evaluation.trainer_disagreement,
        "files_eV_per_atom": evaluation.file_energy_difference or 0.0,
        "files_force_eV_per_A": evaluation.file_force_difference or 0.0,
    }
    note = "LAMMPS was not compared: no lmp with ML-PACE is on the PATH"
    try:
        lammps = in_lammps()
    except EngineError as error:
        wrong.append(str(error))
        note = "LAMMPS failed"
    else:
        if lammps is not None:
            numbers |= {"lammps_eV_per_atom": lammps.energy, "lammps_force_eV_per_A": lammps.force}
            note = f"LAMMPS ({lammps.program}): {lammps.energy:.1e} eV/atom and {lammps.force:.1e} eV/Å"
            wrong += _contradictions_of_lammps(lammps)
    told = (
        f"trainer and exported file agree to {evaluation.trainer_disagreement:.1e} eV/atom, B-basis and exported "
        f"file to {numbers['files_eV_per_atom']:.0e} eV/atom and {numbers['files_force_eV_per_A']:.0e} eV/Å"
    )
    return Check(
        name="consistency",
        passed=not wrong,
        told="; ".join(wrong) or told,
        numbers=numbers,
        notes=(note,),
    )


def _contradictions(plan: FitPlan, evaluation: Evaluation) -> Iterator[str]:
    difference = evaluation.trainer_disagreement
    if difference > TRAINER_TOLERANCE:
        yield (
            f"the exported potential and the trainer differ by {difference:.3g} eV/atom (at most "
            f"{TRAINER_TOLERANCE:g} is numerical noise), so the file is not what was trained. If 'reference' has "
            "large numbers, take smaller ones; else report it"
        )
    energy, force = evaluation.file_energy_difference or 0.0, evaluation.file_force_difference or 0.0
    if max(energy, force) > FILE_TOLERANCE:
        yield (
            f"{plan.run.deployed_potential.name} and {plan.run.exported_potential.name} differ by {energy:.3g} "
            f"eV/atom and {force:.3g} eV/Å (at most {FILE_TOLERANCE:g}), so they are not the same potential"
        )


def _contradictions_of_lammps(lammps: LammpsComparison) -> Iterator[str]:
    if max(lammps.energy, lammps.force) > TRAINER_TOLERANCE:
        yield (
            f"LAMMPS ({lammps.program}) differs by {lammps.energy:.3g} eV/atom and {lammps.force:.3g} eV/Å (at "
            f"most {TRAINER_TOLERANCE:g})"
        )


def _changed_files(plan: FitPlan, deployment: Deployment) -> Iterator[str]:
    """What closing and exporting the fitted potential once more does not reproduce.

    Below the data, which predictions do not reach, nothing else would show a core that was altered.
    """
    run = plan.run
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / run.deployed_potential.name, Path(folder) / run.exported_potential.name
        close_and_export(run.fitted_potential, *again, deployment.reference)
        for made, file in zip(again, (run.deployed_potential, run.exported_potential), strict=True):
            if made.read_bytes() != file.read_bytes():
                yield (
                    f"{file.name} is not what {run.fitted_potential.name} becomes when it is closed and exported: "
                    "it was changed afterwards, or is that of another fit. Run the same command again"
                )
