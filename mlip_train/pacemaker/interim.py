"""Keeping the newest good interim potential of a running fit, to resume from it.

The engine rewrites its interim file in place at every iteration, so a reader may see half of it and
a kill may leave it empty. A copy counts once it was read back whole.
"""

import pandas as pd

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.base.files import atomic_path
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import EngineError
from mlip_train.pacemaker.scratch import EngineScratch

__all__ = ["InterimRecord", "discard_interim", "keep_interim", "resumable"]


class InterimRecord(Frozen):
    """What an interim potential belongs to."""

    identity: str  # of the fit, see `FitPlan`
    iterations: int  # done since the fit first began, over all attempts
    loss: float
    complete: bool  # has all functions; false while a ladder still adds some


class _TornError(EngineError):
    """The interim file was caught in the middle of a rewrite."""


def keep_interim(
    run: GenerationDirectory, identity: str, metrics: pd.DataFrame, iterations_before: int
) -> InterimRecord | None:
    """Copy the engine's interim potential if it is new, whole and finite; return what was kept."""
    if len(metrics) < 2 or not pd.notna(metrics["loss"].iloc[-1]):
        return None
    iterations = iterations_before + len(metrics) - 1
    known = resumable(run, identity)
    if known is not None and known.iterations >= iterations:
        return None
    try:
        complete = _copy_whole(run, n_functions=int(metrics["nfuncs"].iloc[-1]))
    except EngineError:
        return None  # torn; the next look will find it whole
    record = InterimRecord(
        identity=identity, iterations=iterations, loss=float(metrics["loss"].iloc[-1]), complete=complete
    )
    record.save(run.interim_record)
    return record


def resumable(run: GenerationDirectory, identity: str) -> InterimRecord | None:
    """The record of a kept interim potential of this very fit, if there is one."""
    record = InterimRecord.load_if_known(run.interim_record) if run.interim_potential.exists() else None
    return record if record is not None and record.identity == identity else None


def discard_interim(run: GenerationDirectory) -> None:
    """Forget an interim potential, so that no other fit can be taken for its continuation."""
    run.interim_record.unlink(missing_ok=True)
    run.interim_potential.unlink(missing_ok=True)


def _copy_whole(run: GenerationDirectory, n_functions: int) -> bool:
    """Copy the interim potential, read the copy back, and say whether it has all functions."""
    scratch = EngineScratch(run.scratch)
    source = scratch.newest_interim()
    if source is None:
        raise _TornError(f"{run.scratch} holds no interim potential")
    with atomic_path(run.interim_potential) as candidate:
        candidate.write_bytes(source.read_bytes())
        found = load_bbasis(candidate).total_number_of_functions
        if found != n_functions:
            raise _TornError(f"{source} holds {found} of {n_functions} functions")
    return bool(found == load_bbasis(scratch.target_potential).total_number_of_functions)
