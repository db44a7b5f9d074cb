"""The fit of a generation: the library's, with a shell operation for its engine, reported to Prefect."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger
from prefect_shell import ShellOperation
from prefect_shell.commands import ShellProcess

from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit import training
from mlip_train.pacemaker.metrics import FitProgress
from mlip_train.pacemaker.supervision import EngineProcess, Listener
from mlip_train.records.fit import FitRecord
from tasks.artifacts import ProgressReport

__all__ = ["train"]


@task(name="train", task_run_name="train")
def train(plan: FitPlan) -> FitRecord:
    """Fit the potential with Pacemaker; call it directly, a submitted shell task outlives its cancellation."""
    return training.train(plan, _Reporter(plan), _in_shell_operation)


class _Reporter(Listener):
    """Passes on to the run's log, and to the progress on the generation's page."""

    def __init__(self, plan: FitPlan) -> None:
        self._logger, self._name = get_run_logger(), plan.name.capitalize()
        self._report = ProgressReport(plan)

    def note(self, message: str) -> None:
        self._logger.info("%s", message)

    def warn(self, message: str) -> None:
        self._logger.warning("%s", message)

    def progress(self, progress: FitProgress) -> None:
        self._logger.info("%s, %s", self._name, progress, extra={"is_progress": True})
        self._report.update(progress.percent, str(progress))

    def end(self) -> None:
        self._report.end()


class _Shell:
    """A shell operation's process as the library's supervision sees it."""

    def __init__(self, process: ShellProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def wait(self) -> int:
        with contextlib.suppress(RuntimeError):  # a non-zero exit code is judged with the other evidence
            self._process.wait_for_completion()
        return int(self._process.return_code or 0)


@contextlib.contextmanager
def _in_shell_operation(
    commands: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[EngineProcess]:
    with ShellOperation(
        commands=list(commands), env=dict(environment), working_dir=folder, stream_output=False
    ) as operation:
        yield _Shell(operation.trigger())
