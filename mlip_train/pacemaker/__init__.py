"""Everything that knows the engine."""

# The engine finds the callback that input.yaml names as an attribute of this package.
from mlip_train.pacemaker import callbacks

__all__ = ["callbacks"]
