"""Running the engine as a shell task, under watch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger
from prefect_shell import ShellOperation

from mlip_train.config import Engine
from mlip_train.errors import TrainingInterruptedError
from mlip_train.generation import FitPlan, FitRecord, finish_fit, finished_fit
from mlip_train.pacemaker.command import find_engine, shell_lines
from mlip_train.pacemaker.interim import keep_interim
from mlip_train.pacemaker.metrics import FitProgress, ProgressClock, read_metrics
from mlip_train.pacemaker.outcome import renew_scratch
from tasks.artifacts import artifact_key

__all__ = ["train"]

_LOOK_EVERY = 0.5  # seconds between two looks at the process
_REPORT_EVERY = 5.0  # seconds between two reports of progress


@task(name="train")
def train(plan: FitPlan) -> FitRecord:
    """Fit the potential with Pacemaker; call it directly, a submitted shell task outlives its cancellation."""
    logger = get_run_logger()
    if (earlier := finished_fit(plan)) is not None:
        logger.info("This very fit ended well before (%d iterations); it is not repeated", earlier.iterations)
        return earlier
    began = time.monotonic()
    return_code = _run_engine(plan, plan.config.engine)
    seconds = time.monotonic() - began
    record = finish_fit(plan, return_code, seconds)
    logger.info("Trained %d iterations in %.0f s", record.iterations, seconds)
    if record.return_code:
        logger.warning("The engine ended with exit code %d after a complete fit", record.return_code)
    if record.left_out:
        logger.warning("The weighting policy left %d structures out of the fit", record.left_out)
    return record


def _run_engine(plan: FitPlan, engine: Engine) -> int:
    """Run the engine to its end, reporting progress; return its exit code."""
    run = plan.run
    commands = shell_lines(find_engine(engine.command), run.input_yaml, run.log)
    renew_scratch(run)
    shell = ShellOperation(commands=commands, env=engine.environment, working_dir=run.scratch, stream_output=False)
    try:
        with shell:
            process = shell.trigger()
            _watch(plan, process.pid, engine.max_hours)
            with contextlib.suppress(RuntimeError):  # a non-zero exit code is judged with the other evidence
                process.wait_for_completion()
            return int(process.return_code or 0)
    finally:
        _keep_interim(plan)


def _watch(plan: FitPlan, pid: int, max_hours: float) -> None:
    """Report progress and keep good interim potentials until the process ends or its time is up."""
    logger = get_run_logger()
    artifact = create_progress_artifact(
        0.0, key=artifact_key(plan.campaign, "training"), description=f"Training generation {plan.generation}"
    )
    deadline = time.monotonic() + 3600 * max_hours
    for progress in _progress_while_running(plan, pid):
        if progress is not None:
            logger.info("Generation %d, %s", plan.generation, progress, extra={"is_progress": True})
            update_progress_artifact(artifact, progress=progress.percent, description=str(progress))
        _keep_interim(plan)
        if time.monotonic() > deadline:
            raise TrainingInterruptedError(
                f"generation {plan.generation} reached engine.max_hours = {max_hours:g} and was stopped; raise "
                "it or run the same command again: it resumes from the newest interim potential"
            )
    update_progress_artifact(artifact, progress=100.0)


def _progress_while_running(plan: FitPlan, pid: int) -> Iterator[FitProgress | None]:
    """Yield progress every few seconds (None when there is no news) until the process has ended."""
    clock = ProgressClock(plan.epochs)
    known = -1
    while True:
        for _ in range(round(_REPORT_EVERY / _LOOK_EVERY)):
            # WNOWAIT leaves the exit code for ShellOperation to collect
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            time.sleep(_LOOK_EVERY)
        progress = clock.progress(read_metrics(plan.run.scratch / "metrics.txt"))
        is_news = progress is not None and progress.iteration > known
        yield progress if is_news else None
        known = progress.iteration if progress is not None else known


def _keep_interim(plan: FitPlan) -> None:
    metrics = read_metrics(plan.run.scratch / "metrics.txt")
    keep_interim(plan.run, plan.identity, metrics, plan.start.iterations_before)
