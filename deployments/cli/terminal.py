"""What a person sees on the terminal while a flow runs."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.pacemaker.metrics import ProgressClock, read_metrics
from mlip_train.pacemaker.scratch import EngineScratch

__all__ = ["follow_training", "show_flow_messages"]


class _FlowMessages(logging.Handler):
    """Prints what our tasks and flows say, and errors of other libraries; not Prefect's bookkeeping."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        ours = Path(record.pathname).parent.name in {"tasks", "flows"}
        repeated = getattr(record, "is_end", False) or (
            getattr(record, "is_progress", False) and self._console.is_terminal
        )
        of_others = not record.name.startswith("prefect") and record.levelno >= logging.ERROR
        if (ours and not repeated) or of_others:
            style = "yellow" if record.levelno >= logging.WARNING else None
            self._console.print(record.getMessage(), style=style, markup=False, highlight=False)


def show_flow_messages(console: Console) -> None:
    """Send log messages to the console, in place of the handlers that Prefect installed."""
    logging.getLogger().handlers = [_FlowMessages(console)]


@contextlib.contextmanager
def follow_training(campaign: Campaign, console: Console) -> Iterator[None]:
    """Show a progress bar whenever the engine is running in this campaign.

    The bar reads the engine's own metrics file, so it works wherever the engine runs.
    """
    if not console.is_terminal:
        yield
        return
    ended = threading.Event()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[detail]}"),
        console=console,
        transient=True,
    )
    watcher = threading.Thread(target=_watch, args=(campaign, bar, ended), daemon=True)
    with bar:
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(campaign: Campaign, bar: Progress, ended: threading.Event) -> None:
    began = time.time()  # a scratch directory from before is that of an earlier, interrupted run
    shown, clock = None, ProgressClock(1)
    while not ended.wait(0.5):
        generation = campaign.pending_generation()
        if generation is None or not _is_newer(campaign.generation(generation).scratch, began):
            if shown is not None:
                bar.remove_task(shown)
                shown = None
            continue
        run = campaign.generation(generation)
        if shown is None:
            plan = FitPlan.load(run.plan)
            clock = ProgressClock(plan.most_iterations, plan.start.resumed_after)
            shown = bar.add_task(
                f"Generation {generation}", total=plan.most_iterations, detail="starting the engine"
            )
        if (progress := clock.progress(read_metrics(EngineScratch(run.scratch).metrics))) is not None:
            bar.update(shown, completed=progress.iteration, detail=progress.brief())


def _is_newer(directory: Path, moment: float) -> bool:
    return directory.exists() and directory.stat().st_mtime >= moment
