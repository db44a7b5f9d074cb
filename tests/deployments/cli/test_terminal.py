from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from deployments.cli.terminal import follow_training, show_flow_messages
from mlip_train import Campaign
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.scratch import EngineScratch
from tests.conftest import REPOSITORY
from tests.mlip_train.planning import planned

METRICS = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n0 0 0 0.5 0.0123 0.456 8\n"


@pytest.fixture
def root_handlers() -> object:
    root = logging.getLogger()
    before = root.handlers
    yield
    root.handlers = before


def said(name: str, path: Path, level: int, message: str, **extra: object) -> None:
    record = logging.LogRecord(name, level, str(path), 1, message, None, None)
    record.__dict__.update(extra)
    for handler in logging.getLogger().handlers:
        handler.handle(record)


@pytest.mark.usefixtures("root_handlers")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_person_sees_what_our_steps_say_and_not_prefects_bookkeeping(is_terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=200)
    show_flow_messages(console)
    ours, prefects = REPOSITORY / "tasks" / "train.py", Path("/site-packages/prefect/task_engine.py")
    said("prefect.task_runs", ours, logging.INFO, "Trained [generation] 1")
    said("prefect.task_runs", ours, logging.INFO, "iteration 5/8", is_progress=True)
    said("prefect.task_runs", prefects, logging.INFO, "Finished in state Completed()")
    said("prefect.flow_runs", prefects, logging.ERROR, "Encountered exception")
    said("somebody", Path("/site-packages/somebody/x.py"), logging.ERROR, "something is wrong")
    seen = screen.getvalue()
    assert "Trained [generation] 1" in seen
    assert ("iteration 5/8" in seen) is not is_terminal
    assert "something is wrong" in seen
    assert "Finished" not in seen
    assert "Encountered" not in seen


def test_a_bar_follows_the_engine_wherever_it_runs(
    make_campaign: Callable[..., Campaign], write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign()
    accumulate(campaign, [write_batch(0, 3)])
    scratch = EngineScratch(planned(campaign, 1).run.scratch)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with follow_training(campaign, console):
        time.sleep(0.2)
        scratch.renew()
        time.sleep(0.8)
        scratch.metrics.write_text(METRICS)
        time.sleep(0.8)
    seen = screen.getvalue()
    assert "Generation 1" in seen
    assert "starting the engine" in seen
    assert "0/8  loss 0.5  12.3 meV/atom  456 meV/Å" in seen


def test_without_a_terminal_there_is_no_bar(make_campaign: Callable[..., Campaign]) -> None:
    screen = io.StringIO()
    with follow_training(make_campaign(), Console(file=screen)):
        pass
    assert screen.getvalue() == ""
