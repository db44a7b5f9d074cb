"""What a run's log and its end tell whoever looks at its page."""

import logging
from typing import Final, Never, TypeVar, cast

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Failed

from mlip_train.errors import MlipTrainError, RejectedPotentialError

__all__ = ["OUR_FLOWS", "REJECTED", "ends_in", "failed", "log_plainly"]

Result = TypeVar("Result")

REJECTED: Final = "Rejected"  # the state of a run whose potential was not accepted
OUR_FLOWS: Final = ("train-generation", "train-potential", "watch-inbox")


def ends_in(state: State[Result]) -> Result:
    """Let a flow end in a state: Prefect takes a state that is returned, and gives callers its result instead."""
    return cast("Result", state)


def failed(error: MlipTrainError) -> State[Never]:
    """State `Failed`, or `Rejected` for a potential that was trained and not accepted.

    The state's message is the reason alone; callers in Python get the error itself.
    """
    get_run_logger().error("%s", error, extra={"is_end": True})
    name = REJECTED if isinstance(error, RejectedPotentialError) else "Failed"
    return Failed(name=name, message=str(error), data=error)


def log_plainly() -> None:
    """Leave Prefect's lines on failures out of the log, and those that only say that a task has ended.

    What `failed` tells would be repeated: with a traceback, which tells a user nothing more, or without line ends.
    The logs of other flows, which ours may be a part of, stay as they are.
    """
    logging.getLogger("prefect.task_runs").addFilter(_is_news_of_a_task)
    logging.getLogger("prefect.flow_runs").addFilter(_is_news_of_a_flow)


def _is_news_of_a_task(record: logging.LogRecord) -> bool:
    is_reported_by_flow = record.exc_info is not None and isinstance(record.exc_info[1], MlipTrainError)
    is_news = not is_reported_by_flow and not record.getMessage().startswith("Finished in state ")
    return is_news or not _is_ours(record)


def _is_news_of_a_flow(record: logging.LogRecord) -> bool:
    is_news = not record.getMessage().startswith(("Finished in state Failed(", "Finished in state Rejected("))
    return is_news or not _is_ours(record)


def _is_ours(record: logging.LogRecord) -> bool:
    return getattr(record, "flow_name", None) in OUR_FLOWS
