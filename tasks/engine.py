"""The engine as a shell operation, under watch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pandas as pd
from prefect.logging import get_run_logger
from prefect_shell import ShellOperation

from mlip_train.errors import TrainingFailedError, TrainingInterruptedError
from mlip_train.generation import check_continued, continues
from mlip_train.pacemaker.callbacks import DEADLINE
from mlip_train.pacemaker.command import find_engine, shell_lines
from mlip_train.pacemaker.devices import check_used_gpu, devices_told, gpu_environment
from mlip_train.pacemaker.interim import discard_interim, keep_interim
from mlip_train.pacemaker.metrics import FitProgress, ProgressClock, read_metrics
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.planning import FitPlan
from tasks.artifacts import ProgressReport

__all__ = ["run_engine"]

_LOOK_EVERY = 0.5  # seconds between two looks at the process
_REPORT_EVERY = 5.0  # seconds between two reports of progress


def run_engine(plan: FitPlan) -> int:
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
            logger.info("%s, %s", plan.name.capitalize(), progress, extra={"is_progress": True})
            report.update(progress.percent, str(progress))
        _keep_interim(plan)
        if time.monotonic() > deadline:
            raise TrainingInterruptedError(
                f"{plan.name} reached engine.max_hours = {max_hours:g} and was stopped; raise "
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
