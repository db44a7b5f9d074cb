"""Keeping the newest good interim potential of a running fit, to resume from it.

The engine rewrites its interim file in place at every iteration, so a reader may see half of it and
a kill may leave it empty. A copy counts once it was read back whole.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlip_train.campaign import GenerationDirectory
from mlip_train.errors import EngineError
from mlip_train.files import write_atomically
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import load_bbasis

__all__ = ["InterimRecord", "discard_interim", "keep_interim", "resumable"]


class InterimRecord(FrozenModel):
    """What an interim potential belongs to."""

    identity: str  # of the fit, see generation.FitPlan
    iterations: int  # done since the fit first began, over all attempts
    loss: float
    complete: bool  # has all functions; false while a ladder still adds some


def keep_interim(
    run: GenerationDirectory, identity: str, metrics: pd.DataFrame, iterations_before: int
) -> InterimRecord | None:
    """Copy the engine's interim potential if it is new, whole and finite; return what was kept."""
    source = _newest_interim(run.scratch)
    if source is None or len(metrics) < 2 or not pd.notna(metrics["loss"].iloc[-1]):
        return None
    iterations = iterations_before + len(metrics) - 1
    known = resumable(run, identity)
    if known is not None and known.iterations >= iterations:
        return None
    candidate = run.root / ".interim_candidate.yaml"
    candidate.write_bytes(source.read_bytes())
    try:
        n_functions = load_bbasis(candidate).total_number_of_functions
        n_target = load_bbasis(run.scratch / "target_potential.yaml").total_number_of_functions
    except EngineError:
        return None  # caught in the middle of a rewrite; the next look will find it whole
    if n_functions != int(metrics["nfuncs"].iloc[-1]):
        return None
    record = InterimRecord(
        identity=identity,
        iterations=iterations,
        loss=float(metrics["loss"].iloc[-1]),
        complete=n_functions == n_target,
    )
    # Record first: a crash in between resumes from a slightly older potential, never from a torn one.
    write_atomically(run.interim_record, record.model_dump_json() + "\n")
    write_atomically(run.interim_potential, candidate.read_bytes())
    candidate.unlink()
    return record


def resumable(run: GenerationDirectory, identity: str) -> InterimRecord | None:
    """The record of a kept interim potential of this very fit, if there is one."""
    if not (run.interim_record.exists() and run.interim_potential.exists()):
        return None
    record = InterimRecord.model_validate_json(run.interim_record.read_bytes())
    return record if record.identity == identity else None


def discard_interim(run: GenerationDirectory) -> None:
    """Forget an interim potential, so that no other fit can be taken for its continuation."""
    run.interim_record.unlink(missing_ok=True)
    run.interim_potential.unlink(missing_ok=True)


def _newest_interim(scratch: Path) -> Path | None:
    found = [p for p in scratch.glob("interim_potential_*.yaml") if p.stat().st_size > 0]
    return max(found, key=lambda p: p.stat().st_mtime, default=None)
