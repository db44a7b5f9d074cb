"""What the engine calls, in its own process, after every iteration.

Imports nothing of the project: the package imports this module, for the engine to find it.
"""

import functools
import os
import sys
import time
from typing import Final

__all__ = [
    "COMPUTES_ON",
    "DEADLINE",
    "STOP_CALLBACK",
    "TELL_CALLBACK",
    "USED_UP",
    "stop_when_used_up",
    "tell_devices",
]

DEADLINE: Final = "MLIP_TRAIN_DEADLINE"  # environment variable: seconds since the epoch
STOP_CALLBACK: Final = "mlip_train.pacemaker.callbacks.stop_when_used_up"  # as input.yaml names it
TELL_CALLBACK: Final = "mlip_train.pacemaker.callbacks.tell_devices"
COMPUTES_ON: Final = "mlip_train: TensorFlow computes on "
USED_UP: Final = "mlip_train: the wall-time budget of this fit is used up"


def stop_when_used_up(**progress: object) -> None:
    """End the fit after this iteration when its time is up.

    Raises
    ------
    StopIteration
        Which the optimiser takes as the wish to end with what it has.
    """
    if time.time() >= float(os.environ.get(DEADLINE, "inf")):
        print(USED_UP, flush=True)
        raise StopIteration(USED_UP)


def tell_devices(**progress: object) -> None:
    """Print, once, what TensorFlow computes on."""
    _tell_once()


@functools.cache
def _tell_once() -> None:
    tensorflow = sys.modules.get("tensorflow")  # the engine has imported it by now
    if tensorflow is not None:
        names = [device.name for device in tensorflow.config.list_logical_devices()]
        print(f"{COMPUTES_ON}{', '.join(names)}", flush=True)
