"""Computing on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import joblib
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

__all__ = ["where_the_flow_runs"]


@contextmanager
def where_the_flow_runs() -> Iterator[None]:
    """Share the work on structures out over the Dask cluster of the flow's task runner, if it has one.

    The workers must see the campaign directory under the same path.
    """
    context = FlowRunContext.get()
    client = getattr(context.task_runner, "client", None) if context else None
    if client is None:
        yield
        return
    get_run_logger().info("Computing on the Dask cluster at %s", client.scheduler.address)
    with client.as_current(), joblib.parallel_config(backend="dask", wait_for_workers_timeout=60):
        yield
