"""The fit of a generation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import filelock
from prefect import task
from prefect.logging import get_run_logger

from mlip_train.engine import Engine
from mlip_train.generation import finish_fit, finish_linear
from mlip_train.pacemaker.devices import check_visible_gpu, gpu_environment, visible_devices
from mlip_train.planning import FitPlan, FitRecord, finished_fit
from tasks.engine import run_engine

__all__ = ["train"]


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
        get_run_logger().warning("%s is being trained already; waiting for that", plan.name.capitalize())
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


def _train_with_engine(plan: FitPlan) -> FitRecord:
    logger, began = get_run_logger(), time.monotonic()
    _check_devices_here(plan.config.engine)
    return_code = run_engine(plan)
    seconds = time.monotonic() - began
    record = finish_fit(plan, return_code, seconds)
    spent = f" ({record.timings})" if record.timings else ""
    logger.info("Trained %s in %.0f s%s; stopped: %s", plan.name, seconds, spent, record.stopped)
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
