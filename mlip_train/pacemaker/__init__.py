"""Everything that knows the engine."""

# The engine finds the callbacks that input.yaml names as attributes of this package.
from mlip_train.pacemaker import devices, time_budget

__all__ = ["devices", "time_budget"]
