"""Running the engine as a shell task, under watch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import filelock
import pandas as pd
from prefect import task
from prefect.logging import get_run_logger
from prefect_shell import ShellOperation

from mlip_train.config import Engine
from mlip_train.errors import TrainingFailedError, TrainingInterruptedError
from mlip_train.generation import check_continued, continues, finish_fit, finish_linear
from mlip_train.pacemaker.callbacks import DEADLINE
from mlip_train.pacemaker.command import find_engine, shell_lines
from mlip_train.pacemaker.devices import (
    check_used_gpu,
    check_visible_gpu,
    devices_told,
    gpu_environment,
    visible_devices,
)
from mlip_train.pacemaker.interim import discard_interim, keep_interim
from mlip_train.pacemaker.metrics import FitProgress, ProgressClock, read_metrics
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.planning import FitPlan, FitRecord, finished_fit
from tasks.artifacts import ProgressReport

__all__ = ["train"]

_LOOK_EVERY = 0.5  # seconds between two looks at the process
_REPORT_EVERY = 5.0  # seconds between two reports of progress


@task(name="train", task_run_name="train")
def train(plan: FitPlan) -> FitRecord:
    """Fit the potential with Pacemaker; call it directly, a submitted shell task outlives its cancellation."""
    logger = get_run_logger()
    if (earlier := finished_fit(plan.run, plan.identity)) is not None:
        logger.info("This very fit ended well before; it is not repeated")
        return earlier
    if plan.is_linear:
        logger.info("fit.max_epochs is 0: the linear solution is the potential of this generation")
        record = finish_linear(plan)
        _tell_left_out(record)
        return record
    with _training_alone(plan):
        if (earlier := finished_fit(plan.run, plan.identity)) is not None:  # by the one that was waited for
            return earlier
        return _train_with_engine(plan)


@contextlib.contextmanager
def _training_alone(plan: FitPlan) -> Iterator[None]:
    """Wait for a training of this generation that has outlived the run that started it."""
    lock = filelock.FileLock(plan.run.training_lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        get_run_logger().warning("Generation %d is being trained already; waiting for that", plan.generation)
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


def _train_with_engine(plan: FitPlan) -> FitRecord:
    logger, began = get_run_logger(), time.monotonic()
    _check_devices_here(plan.config.engine)
    return_code = _run_engine(plan)
    seconds = time.monotonic() - began
    record = finish_fit(plan, return_code, seconds)
    spent = f" ({record.timings})" if record.timings else ""
    logger.info("Trained generation %d in %.0f s%s; stopped: %s", plan.generation, seconds, spent, record.stopped)
    if record.return_code:
        logger.warning("The engine ended with exit code %d after a complete fit", record.return_code)
    _tell_left_out(record)
    return record


def _check_devices_here(engine: Engine) -> None:
    if engine.gpu is None or engine.command != Engine().command:
        return  # a launcher or another installation may see other devices; the engine itself tells which
    devices = visible_devices({**engine.environment, **gpu_environment(engine.gpu)})
    get_run_logger().info("This training will use %s", devices)
    check_visible_gpu(engine.gpu, devices)


def _tell_left_out(record: FitRecord) -> None:
    if record.left_out:
        get_run_logger().warning("The weighting policy left %d structures out of the fit", record.left_out)


def _run_engine(plan: FitPlan) -> int:
    """Run the engine to its end, reporting progress; return its exit code."""
    run, engine = plan.run, plan.config.engine
    commands = shell_lines(find_engine(engine.command), run.input_yaml, run.log)
    EngineScratch(run.scratch).renew()
    environment = {**engine.environment, **gpu_environment(engine.gpu)}
    if plan.config.fit.max_hours is not None:
        environment[DEADLINE] = str(time.time() + 3600 * plan.config.fit.max_hours)
    shell = ShellOperation(commands=commands, env=environment, working_dir=run.scratch, stream_output=False)
    try:
        with shell:
            process = shell.trigger()
            _watch(plan, process.pid)
            with contextlib.suppress(RuntimeError):  # a non-zero exit code is judged with the other evidence
                process.wait_for_completion()
            return int(process.return_code)
    except TrainingFailedError:
        discard_interim(run)  # to resume from it would hide that the fit had not continued
        raise
    finally:
        _keep_interim(plan)


def _watch(plan: FitPlan, pid: int) -> None:
    """Report progress and keep good interim potentials until the process ends or its time is up."""
    logger, max_hours = get_run_logger(), plan.config.engine.max_hours
    report, devices = ProgressReport(plan), None
    deadline = time.monotonic() + 3600 * max_hours
    for progress in _progress_while_running(plan, pid):
        if progress is not None:
            devices = devices or _devices_of(plan)
            logger.info("Generation %d, %s", plan.generation, progress, extra={"is_progress": True})
            report.update(progress.percent, str(progress))
        _keep_interim(plan)
        if time.monotonic() > deadline:
            raise TrainingInterruptedError(
                f"generation {plan.generation} reached engine.max_hours = {max_hours:g} and was stopped; raise "
                "it or run the same command again: it resumes from the newest interim potential"
            )
    report.end()


def _devices_of(plan: FitPlan) -> str | None:
    """What the engine has said that it computes on, once it has."""
    if (devices := devices_told(plan.run.log)) is not None:
        get_run_logger().info("TensorFlow computes on %s", devices)
        if plan.config.engine.gpu is not None:
            check_used_gpu(plan.config.engine.gpu, devices)
    return devices


def _progress_while_running(plan: FitPlan, pid: int) -> Iterator[FitProgress | None]:
    """Yield progress every few seconds (None when there is no news) until the process has ended."""
    clock = ProgressClock(plan.most_iterations, plan.start.resumed_after)
    known = -1
    while True:
        for _ in range(round(_REPORT_EVERY / _LOOK_EVERY)):
            # WNOWAIT leaves the exit code for ShellOperation to collect
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            time.sleep(_LOOK_EVERY)
        metrics = _metrics_so_far(plan)
        check_continued(plan, metrics)
        progress = clock.progress(metrics)
        is_news = progress is not None and progress.iteration > known
        yield progress if is_news else None
        known = progress.iteration if progress is not None else known


def _keep_interim(plan: FitPlan) -> None:
    metrics = _metrics_so_far(plan)
    if continues(plan, metrics):
        keep_interim(plan.run, plan.identity, metrics, plan.start.resumed_after)


def _metrics_so_far(plan: FitPlan) -> pd.DataFrame:
    """The metrics of a running fit; what cannot be read is judged when the engine has ended."""
    metrics = EngineScratch(plan.run.scratch).metrics
    try:
        return read_metrics(metrics)
    except TrainingFailedError:
        return pd.DataFrame()
