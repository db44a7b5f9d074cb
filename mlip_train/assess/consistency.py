"""Whether the files that people run are what was trained."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from mlip_train.assess.lammps_run import LammpsComparison, compare_in_lammps
from mlip_train.assess.subject import Subject
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import EngineError, InconsistentPotentialError
from mlip_train.evaluation.residual_files import read_residuals
from mlip_train.fit.closing import close_and_export
from mlip_train.pacemaker.pickles import read_predictions
from mlip_train.records.checks import Check

__all__ = ["check", "trainer_difference"]

# Exported file and trainer are two implementations; a healthy pair agrees to about 5e-6 eV/atom.
TRAINER_TOLERANCE: Final = 1e-5  # eV/atom
# B-basis and exported file hold the same numbers for the same evaluator.
FILE_TOLERANCE: Final = 1e-8  # eV/atom and eV/Å


class _FileDifference(NamedTuple):
    """Largest difference between what two files of a potential predict."""

    energy: float  # eV/atom
    force: float  # eV/Å, components


def check(subject: Subject, rule: object) -> Check:
    """Compare trainer, B-basis, exported file and, where there is one, LAMMPS.

    The numbers come from the predictions that the evaluation kept.

    Raises
    ------
    EngineError
        When the exported file is gone, or cannot be read.
    InconsistentPotentialError
        When the trainer left nothing to compare with, or what is not a number.
    """
    run = subject.plan.run
    _ = subject.calculator  # one that is gone or cut off is named before anything is compared with it
    trainer, furthest = trainer_difference(run.train_predictions, run.residuals_on_train)
    files = _file_difference(run.residuals_on_test if subject.plan.n_test else run.residuals_on_train)
    wrong = [*_contradictions(run, trainer, furthest, files), *_changed_files(subject)]
    numbers = {"trainer_eV_per_atom": trainer}
    agreement = f"trainer and exported file agree to {trainer:.1e} eV/atom"
    if files is not None:
        numbers |= {"files_eV_per_atom": files.energy, "files_force_eV_per_A": files.force}
        agreement += f", B-basis and exported file to {files.energy:.0e} eV/atom and {files.force:.0e} eV/Å"
    note = "LAMMPS was not compared: no lmp with ML-PACE is on the PATH"
    try:
        lammps = compare_in_lammps(subject)
    except EngineError as error:
        wrong.append(str(error))
        note = "LAMMPS failed"
    else:
        if lammps is not None:
            numbers |= {"lammps_eV_per_atom": lammps.energy, "lammps_force_eV_per_A": lammps.force}
            note = f"LAMMPS ({lammps.program}): {lammps.energy:.1e} eV/atom and {lammps.force:.1e} eV/Å"
            wrong += _contradictions_of_lammps(lammps)
    return Check(
        name="consistency", passed=not wrong, finding="; ".join(wrong) or agreement, numbers=numbers, notes=(note,)
    )


def trainer_difference(train_predictions: Path, residuals: Path) -> tuple[float, str]:
    """Largest difference (eV/atom) between the trainer's energies and those of the exported file, and where.

    Parameters
    ----------
    train_predictions : Path
        The engine's `train_pred.pckl.gzip`.
    residuals : Path
        The predictions of the exported file for the training structures, see `keep_residuals`.

    Returns
    -------
    tuple of float and str
        The second is the structure_id of the structure on which they differ most.

    Raises
    ------
    InconsistentPotentialError
        When no structure is common to both, or the trainer predicted what is not a number.
    """
    trained = dict(read_predictions(train_predictions))
    differences = {
        row["structure_id"]: abs(trained[row["structure_id"]] / len(row["numbers"]) - row["energy_ace"])
        for batch in read_residuals(residuals, ["structure_id", "numbers", "energy_ace"])
        for row in batch.to_pylist()
        if row["structure_id"] in trained
    }
    if not differences:
        raise InconsistentPotentialError(f"{train_predictions} holds none of the training structures")
    worst = list(differences)[int(np.argmax(list(differences.values())))]  # NaN counts as the largest
    if not np.isfinite(differences[worst]):
        raise InconsistentPotentialError(
            f"{train_predictions} predicts an energy that is not finite for structure {worst[:12]}; the "
            "potential is of no use. Train it again with more, or more varied, data"
        )
    return differences[worst], worst


def _file_difference(residuals: Path) -> _FileDifference | None:
    """Between B-basis and exported file; None where no structure was graded."""
    energy, force = [], []
    for batch in read_residuals(residuals, ["energy_difference", "force_difference"]):
        energy += [value for value in batch["energy_difference"].to_pylist() if value is not None]
        force += [value for value in batch["force_difference"].to_pylist() if value is not None]
    return _FileDifference(max(energy), max(force)) if energy else None


def _contradictions(
    run: GenerationDirectory, trainer: float, furthest: str, files: _FileDifference | None
) -> Iterator[str]:
    if trainer > TRAINER_TOLERANCE:
        yield (
            f"the exported potential and the trainer differ by {trainer:.3g} eV/atom, most on structure "
            f"{furthest} (at most {TRAINER_TOLERANCE:g} is numerical noise), so the file is not what was trained. "
            "If 'reference' has large numbers, take smaller ones; else report it"
        )
    if files is None:
        yield f"{run.closed_potential.name} and {run.exported_potential.name} were not compared; report this"
    elif max(files) > FILE_TOLERANCE:
        yield (
            f"{run.closed_potential.name} and {run.exported_potential.name} differ by {files.energy:.3g} "
            f"eV/atom and {files.force:.3g} eV/Å (at most {FILE_TOLERANCE:g}), so they are not the same potential"
        )


def _contradictions_of_lammps(lammps: LammpsComparison) -> Iterator[str]:
    if max(lammps.energy, lammps.force) > TRAINER_TOLERANCE:
        yield (
            f"LAMMPS ({lammps.program}) differs by {lammps.energy:.3g} eV/atom and {lammps.force:.3g} eV/Å (at "
            f"most {TRAINER_TOLERANCE:g})"
        )


def _changed_files(subject: Subject) -> Iterator[str]:
    """What closing and exporting the fitted potential once more does not reproduce.

    Below the data, which predictions do not reach, nothing else would show a core that was altered.
    """
    run = subject.plan.run
    with tempfile.TemporaryDirectory() as folder:
        again = GenerationDirectory(Path(folder))
        close_and_export(run.fitted_potential, again, subject.closed.reference)
        for file in (run.closed_potential, run.exported_potential):
            if (again.root / file.name).read_bytes() != file.read_bytes():
                yield (
                    f"{file.name} is not what {run.fitted_potential.name} becomes when it is closed and exported: "
                    "it was changed afterwards, or is that of another fit. Run the same command again"
                )
