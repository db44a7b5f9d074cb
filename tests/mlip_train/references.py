"""Reference potentials for silicon, and bases that are linear in their coefficients."""

from __future__ import annotations

from typing import Any, Final

import pytest

__all__ = ["ALL", "BASIS", "CORE", "DELTA", "FAR", "LINEAR", "LJ", "NONE", "PRIORS"]

LINEAR: Final = {
    "cutoff": 4.5, "functions_per_element": 8, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1],
    "embedding": "linear",
}  # fmt: skip
# good enough to be closed at short distance
BASIS: Final = {
    "cutoff": 5.0, "functions_per_element": 40, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2],
    "embedding": "linear",
}  # fmt: skip
NONE: Final[dict[str, Any]] = {"kind": "none"}
CORE: Final = {"kind": "zbl", "mode": "core"}
DELTA: Final = {"kind": "zbl", "mode": "delta"}  # which ends below all distances in the data
FAR: Final = {**DELTA, "pairs": {"Si-Si": {"inner": 1.1, "outer": 2.8}}}  # which does not
LJ: Final = {"kind": "lj", "cutoff": 4.5, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": 2.0}}}

ALL = pytest.mark.parametrize("reference", [NONE, CORE, FAR, LJ], ids=["none", "core", "delta", "lj"])
PRIORS = pytest.mark.parametrize("reference", [CORE, DELTA, FAR, LJ], ids=["core", "delta", "far", "lj"])
