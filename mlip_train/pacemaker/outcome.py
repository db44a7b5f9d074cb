"""Judging a fit by its evidence. The exit code alone says neither that it trained nor that it did not."""

import pickle
import re
import signal
from pathlib import Path

import numpy as np

from mlip_train.ace.bbasis import coefficients_of, elements_of
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import EngineError, TrainingFailedError, TrainingInterruptedError
from mlip_train.pacemaker.log import log_tail
from mlip_train.pacemaker.metrics import read_metrics
from mlip_train.pacemaker.pickles import read_names
from mlip_train.pacemaker.scratch import EngineScratch

__all__ = ["check_outcome", "engine_versions"]


def check_outcome(run: GenerationDirectory, return_code: int, *, may_leave_out: bool) -> int:
    """Look for the evidence of a trained potential in what the engine left in its scratch directory.

    Parameters
    ----------
    run : GenerationDirectory
        The run whose scratch directory the engine worked in.
    return_code : int
        As reported for the process; negative for a signal.
    may_leave_out : bool
        Whether the weighting policy is allowed to leave structures out.

    Returns
    -------
    int
        Number of structures that the fit left out (0 unless allowed).

    Raises
    ------
    TrainingInterruptedError
        When a signal ended the engine.
    TrainingFailedError
        When the evidence of a trained potential is missing; the message lists what, with the end of
        the engine's log.
    """
    if stopped_by := _signal_of(return_code):
        raise TrainingInterruptedError(
            f"the engine was stopped by {stopped_by}"
            + (" (out of memory? lower fit.batch_size or the basis)" if stopped_by == "SIGKILL" else "")
            + f"; run the same command again to resume.\nEnd of {run.log}:\n{log_tail(run.log)}"
        )
    left_out = _count_left_out(run)
    scratch = EngineScratch(run.scratch)
    problems = [*_wrong_metrics(scratch.metrics), *_wrong_potential(scratch)]
    if left_out is None:
        problems.append("it wrote no predictions for its training set")
    elif left_out and not may_leave_out:
        problems.append(f"it dropped {left_out} of its training structures without a word")
    if problems or left_out is None:
        raise TrainingFailedError(
            f"the engine ended with exit code {return_code} but without a trained potential: "
            f"{'; '.join(problems)}. The dataset is kept; mend the cause and run the same command again.\n"
            f"End of {run.log}:\n{log_tail(run.log)}"
        )
    return left_out


def _signal_of(return_code: int) -> str | None:
    # bash reports a child ended by signal N as 128 + N
    number = -return_code if return_code < 0 else return_code - 128
    if number in {signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP}:
        return signal.Signals(number).name
    return None


def _wrong_metrics(path: Path) -> list[str]:
    try:
        metrics = read_metrics(path)
    except TrainingFailedError as error:
        return [str(error)]
    if len(metrics) < 2:
        return ["it did not complete a single iteration"]
    if not np.isfinite(metrics[["loss", "rmse_epa", "rmse_f_comp"]]).all(axis=None):
        return ["its loss is not a finite number (are two atoms at the same place?)"]
    return []


def _wrong_potential(scratch: EngineScratch) -> list[str]:
    output = scratch.output_potential
    if not output.exists():
        return [f"it wrote no {output.name}"]
    try:
        fitted, before = coefficients_of(output), coefficients_of(scratch.target_potential)
        elements = elements_of(output), elements_of(scratch.target_potential)
    except EngineError as error:
        return [str(error)]
    if elements[0] != elements[1]:
        return [f"its potential is for {', '.join(elements[0])} instead of {', '.join(elements[1])}"]
    if fitted.shape == before.shape and np.array_equal(fitted, before):
        return ["its potential did not change"]
    return []


def _count_left_out(run: GenerationDirectory) -> int | None:
    predictions = EngineScratch(run.scratch).train_predictions
    if not predictions.exists():
        return None
    try:
        fitted = read_names(predictions)
    except (EOFError, OSError, pickle.UnpicklingError):
        return None
    return len(read_names(run.train_data) - fitted)


def engine_versions(potential: Path) -> dict[str, str]:
    """Versions that the engine wrote into a potential's metadata."""
    head = potential.read_text(errors="replace").split("\nglobal:")[0]
    return dict(re.findall(r"^\s+(\w+_version): (\S+)$", head, flags=re.MULTILINE))
