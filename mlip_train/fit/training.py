"""The fit itself: a linear solution, or the engine under watch; judged by its evidence and recorded."""

import contextlib
import time
from collections.abc import Iterator
from importlib.metadata import version

import filelock

from mlip_train.base.files import copy_atomically
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, finished_fit
from mlip_train.config.engine import Engine
from mlip_train.errors import TrainingFailedError
from mlip_train.fit.selection import chosen_structures
from mlip_train.pacemaker.continuation import check_continued
from mlip_train.pacemaker.devices import check_visible_gpu, gpu_environment, visible_devices
from mlip_train.pacemaker.interim import discard_interim
from mlip_train.pacemaker.log import devices_in_log, read_timings, reason_it_stopped
from mlip_train.pacemaker.metrics import read_metrics, write_metrics
from mlip_train.pacemaker.outcome import check_outcome, engine_versions
from mlip_train.pacemaker.pickles import write_predictions
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.pacemaker.supervision import Launch, Listener, in_subprocess, run_engine
from mlip_train.records.fit import FitRecord, LinearSolution

__all__ = ["finish_fit", "finish_linear", "record_solved", "train"]


def train(plan: FitPlan, listener: Listener | None = None, launch: Launch = in_subprocess) -> FitRecord:
    """Fit a planned potential; a fit that ended well before is not repeated.

    Parameters
    ----------
    plan : FitPlan
        What `plan_fit` has planned and `write_fit` has written.
    listener : Listener, optional
        Hears how it goes.
    launch : callable
        Starts the engine.

    Raises
    ------
    EngineError
        When there is no evidence of a trained potential, or the fit was interrupted: the same call resumes it.
    """
    hears = listener or Listener()
    if (earlier := finished_fit(plan.run, plan.identity)) is not None:
        hears.note("This very fit ended well before; it is not repeated")
        return earlier
    if plan.is_linear:
        hears.note("fit.max_epochs is 0: the linear solution is the potential of this generation")
        record = finish_linear(plan)
    else:
        with _training_alone(plan, hears):
            # the one that was waited for may have been this very fit
            record = finished_fit(plan.run, plan.identity) or _train_with_engine(plan, hears, launch)
    if record.left_out:
        hears.warn(f"The weighting policy left {record.left_out} structures out of the fit")
    return record


@contextlib.contextmanager
def _training_alone(plan: FitPlan, listener: Listener) -> Iterator[None]:
    """Wait for a training of this generation that has outlived the run that started it."""
    lock = filelock.FileLock(plan.run.training_lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        listener.warn(f"{plan.name.capitalize()} is being trained already; waiting for that")
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


def _train_with_engine(plan: FitPlan, listener: Listener, launch: Launch) -> FitRecord:
    began = time.monotonic()
    _check_devices_here(plan.config.engine, listener)
    return_code = run_engine(plan, listener, launch)
    seconds = time.monotonic() - began
    record = finish_fit(plan, return_code, seconds)
    spent = f" ({record.timings})" if record.timings else ""
    listener.note(f"Trained {plan.name} in {seconds:.0f} s{spent}; stopped: {record.stopped}")
    if record.return_code:
        listener.warn(f"The engine ended with exit code {record.return_code} after a complete fit")
    return record


def _check_devices_here(engine: Engine, listener: Listener) -> None:
    if engine.gpu is None or engine.command != Engine().command:
        return  # a launcher or another installation may see other devices; the engine itself names its own
    devices = visible_devices({**engine.environment, **gpu_environment(engine.gpu)})
    listener.note(f"This training will use {devices}")
    check_visible_gpu(engine.gpu, devices)


def finish_fit(plan: FitPlan, return_code: int, seconds: float) -> FitRecord:
    """Judge what the engine left, keep the good of it and record it; see `check_outcome` for the errors raised."""
    run, scratch = plan.run, EngineScratch(plan.run.scratch)
    run.fit_record.unlink(missing_ok=True)
    try:
        may_leave_out = plan.config.fit.weighting.kind != "uniform"
        left_out = check_outcome(run, return_code, may_leave_out=may_leave_out)
        check_continued(plan, read_metrics(scratch.metrics))
    except TrainingFailedError:
        # Resuming from the same place would fail in the same way; the next attempt starts afresh.
        discard_interim(run)
        raise
    copy_atomically(scratch.metrics, run.metrics)
    if scratch.test_metrics.exists():
        copy_atomically(scratch.test_metrics, run.test_metrics)
    copy_atomically(scratch.train_predictions, run.train_predictions)
    copy_atomically(scratch.output_potential, run.fitted_potential)
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        stopped=reason_it_stopped(run.log),
        left_out=left_out,
        seconds=seconds,
        return_code=return_code,
        engine=engine_versions(run.fitted_potential),
        devices=devices_in_log(run.log),
        timings=read_timings(run.log, seconds),
    )
    record.save(run.fit_record)
    discard_interim(run)
    return record


def finish_linear(plan: FitPlan) -> FitRecord:
    """Make the linear solution the generation's potential, with the files that a fit would leave.

    Raises
    ------
    TrainingFailedError
        When the plan holds no linear solution.
    """
    run, solution = plan.run, plan.solution
    if solution is None:
        raise TrainingFailedError(
            f"generation {plan.generation} has no linear solution; set fit.max_epochs above 0"
        )
    run.fit_record.unlink(missing_ok=True)
    write_metrics(run.metrics, [_as_iteration(solution)])
    write_metrics(run.test_metrics, [])
    write_predictions(
        run.train_predictions, run.start_potential, chosen_structures(Campaign(plan.campaign), run)()
    )
    return record_solved(plan, solution, solution.seconds, plan.n_train - solution.n_structures)


def record_solved(plan: FitPlan, solution: LinearSolution, seconds: float, left_out: int = 0) -> FitRecord:
    """Make a solved start potential the fitted one, and write its record."""
    copy_atomically(plan.run.start_potential, plan.run.fitted_potential)
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        stopped=f"solved ({solution.settings})",
        left_out=left_out,
        seconds=seconds,
        return_code=0,
        engine={"pacemaker_version": version("python-ace")},
    )
    record.save(plan.run.fit_record)
    return record


def _as_iteration(solution: LinearSolution) -> dict[str, float]:
    """A solution as a row of metrics.txt."""
    return {
        "ladder_step": 0,
        "cycle_step": 0,
        "iter_num": 0,
        "loss": solution.loss,
        "rmse_epa": solution.energy_rmse,
        "rmse_f_comp": solution.force_rmse,
        "nfuncs": solution.n_functions,
    }
