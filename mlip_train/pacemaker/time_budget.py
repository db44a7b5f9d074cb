"""A fit's wall-time budget. The engine calls this module's function, in its own process, at every iteration."""

from __future__ import annotations

import os
import time
from typing import Final

__all__ = ["DEADLINE", "STOP_CALLBACK", "USED_UP", "stop_when_used_up"]

DEADLINE: Final = "MLIP_TRAIN_DEADLINE"  # environment variable: seconds since the epoch
STOP_CALLBACK: Final = "mlip_train.pacemaker.time_budget.stop_when_used_up"  # as input.yaml names it
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
