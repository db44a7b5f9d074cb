"""Running the engine under watch: progress, good interim potentials, the wall-time limit, no orphans."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import pandas as pd

from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import TrainingFailedError, TrainingInterruptedError
from mlip_train.pacemaker.callbacks import DEADLINE
from mlip_train.pacemaker.command import find_engine, shell_lines
from mlip_train.pacemaker.continuation import check_continued, continues
from mlip_train.pacemaker.devices import check_used_gpu, gpu_environment
from mlip_train.pacemaker.interim import discard_interim, keep_interim
from mlip_train.pacemaker.log import devices_in_log
from mlip_train.pacemaker.metrics import FitProgress, ProgressClock, read_metrics
from mlip_train.pacemaker.scratch import EngineScratch

__all__ = ["EngineProcess", "Launch", "Listener", "in_subprocess", "run_engine"]

_LOOK_EVERY: Final = 0.5  # seconds between two looks at the process
_REPORT_EVERY: Final = 5.0  # seconds between two reports of progress
_PATIENCE: Final = 10.0  # seconds for an engine to end when it is asked to


class Listener:
    """What hears how a training goes; this one does nothing with it."""

    def note(self, message: str) -> None:
        """Hear what happened."""

    def warn(self, message: str) -> None:
        """Hear what a person should know."""

    def progress(self, progress: FitProgress) -> None:
        """Hear how far the engine has come."""

    def end(self) -> None:
        """Hear that the engine has ended."""


class EngineProcess(Protocol):
    """A running engine."""

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        ...


# Starts lines of bash with environment variables in a directory, and ends what it started with the context.
Launch = Callable[[Sequence[str], Mapping[str, str], Path], AbstractContextManager[EngineProcess]]


@contextlib.contextmanager
def in_subprocess(
    commands: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[EngineProcess]:
    """Run lines of bash as a child of this process."""
    with subprocess.Popen(
        ["bash", "-c", "\n".join(commands)],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def run_engine(plan: FitPlan, listener: Listener, launch: Launch) -> int:
    """Run the engine to its end, telling a listener how far it has come; return its exit code.

    Raises
    ------
    EngineNotFoundError
        When its command is not there.
    NoGpuError
        When it computes on no GPU although one is required.
    TrainingFailedError
        As soon as it is seen that it did not continue from the start potential.
    TrainingInterruptedError
        When it reached `engine.max_hours`.
    """
    run, engine = plan.run, plan.config.engine
    commands = shell_lines(find_engine(engine.command), run.input_yaml, run.log)
    EngineScratch(run.scratch).renew()
    environment = {**engine.environment, **gpu_environment(engine.gpu)}
    if plan.config.fit.max_hours is not None:
        environment[DEADLINE] = str(time.time() + 3600 * plan.config.fit.max_hours)
    try:
        with launch(commands, environment, run.scratch) as process:
            _watch(plan, process.pid, listener)
            return process.wait()
    except TrainingFailedError:
        discard_interim(run)  # to resume from it would hide that the fit had not continued
        raise
    finally:
        _keep_interim(plan)


def _watch(plan: FitPlan, pid: int, listener: Listener) -> None:
    """Report progress and keep good interim potentials until the process ends or its time is up."""
    max_hours, devices = plan.config.engine.max_hours, None
    deadline = time.monotonic() + 3600 * max_hours
    for progress in _progress_while_running(plan, pid):
        if progress is not None:
            devices = devices or _devices_of(plan, listener)
            listener.progress(progress)
        _keep_interim(plan)
        if time.monotonic() > deadline:
            raise TrainingInterruptedError(
                f"{plan.name} reached engine.max_hours = {max_hours:g} and was stopped; raise "
                "it or run the same command again: it resumes from the newest interim potential"
            )
    listener.end()


def _devices_of(plan: FitPlan, listener: Listener) -> str | None:
    """The devices that the engine has named, once it has."""
    if (devices := devices_in_log(plan.run.log)) is not None:
        listener.note(f"TensorFlow computes on {devices}")
        if plan.config.engine.gpu is not None:
            check_used_gpu(plan.config.engine.gpu, devices)
    return devices


def _progress_while_running(plan: FitPlan, pid: int) -> Iterator[FitProgress | None]:
    """Yield progress every few seconds (None when there is no news) until the process has ended."""
    clock = ProgressClock(plan.most_iterations, plan.start.resumed_after)
    known = -1
    while True:
        for _ in range(round(_REPORT_EVERY / _LOOK_EVERY)):
            # WNOWAIT leaves the exit code for whoever launched it to collect
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
    try:
        return read_metrics(EngineScratch(plan.run.scratch).metrics)
    except TrainingFailedError:
        return pd.DataFrame()
