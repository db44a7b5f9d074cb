"""What a flow leaves out of its log, and that it leaves the logs of others alone."""

from __future__ import annotations

import logging
import sys

import pytest

from flows.ending import OUR_FLOWS, log_plainly
from flows.train_generation import train_generation
from flows.train_potential import train_potential
from flows.watch_inbox import watch_inbox
from mlip_train.errors import InputError


def passes(logger: str, message: str, flow_name: str | None, error: Exception | None = None) -> bool:
    """Whether a line gets into the log."""
    log_plainly()
    exc_info = None
    if error is not None:
        try:
            raise error
        except type(error):
            exc_info = sys.exc_info()
    extra = {} if flow_name is None else {"flow_name": flow_name}
    record = logging.getLogger(logger).makeRecord(logger, logging.INFO, "", 0, message, (), exc_info, extra=extra)
    return bool(logging.getLogger(logger).filter(record))


def test_our_flows_are_all_that_there_are() -> None:
    assert {flow.name for flow in (train_generation, train_potential, watch_inbox)} == set(OUR_FLOWS)


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("prefect.task_runs", "Finished in state Completed()"),
        ("prefect.flow_runs", "Finished in state Failed('no such file')"),
        ("prefect.flow_runs", "Finished in state Rejected('a hole')"),
    ],
)
def test_what_tells_nothing_is_left_out_of_our_log_only(logger: str, message: str) -> None:
    assert not passes(logger, message, "train-generation")
    assert passes(logger, message, "relax-structures")
    assert passes(logger, message, None)


def test_an_error_that_the_flow_tells_needs_no_traceback() -> None:
    told = "Task run failed with exception"
    assert not passes("prefect.task_runs", told, "train-generation", InputError("no such file"))
    assert passes("prefect.task_runs", told, "train-generation", ZeroDivisionError("a bug"))
    assert passes("prefect.task_runs", told, "relax-structures", InputError("no such file"))


@pytest.mark.parametrize("message", ["Finished in state Completed('generation 1')", "Beginning flow run"])
def test_what_is_news_stays(message: str) -> None:
    assert passes("prefect.flow_runs", message, "train-generation")
