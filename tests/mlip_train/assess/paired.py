"""Residuals of a given size, and the ratios of their errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlip_train.assess.paired_errors import PairedErrors
from mlip_train.atoms.structure import Structure
from mlip_train.evaluation.predictions import Prediction
from mlip_train.evaluation.residuals import Residual
from mlip_train.records.evaluation import ErrorRatio

__all__ = ["ratios", "residual"]


def residual(number: int, error: float, config_type: str) -> Residual:
    """Of a structure with a given error in each force component (meV/Å), and in its energy (meV/atom)."""
    n = 10
    known = Structure(
        numbers=np.full(n, 14, np.int32), positions=np.arange(3.0 * n).reshape(n, 3) + number, cell=np.eye(3) * 99,
        pbc=np.ones(3, bool), energy=0.0, forces=np.zeros((n, 3)), stress=None, config_type=config_type,
        source="test", frame=number,
    )  # fmt: skip
    return Residual(known, Prediction(1e-3 * error * n, 0.0, np.full((n, 3), 1e-3 * error), None), reference=0.0)


def ratios(
    own: Sequence[float], parent: Sequence[float], n_earlier: int = 0, types: str = "a" * 99
) -> tuple[ErrorRatio, ...]:
    """Of force errors of structures, the first of which are earlier ones; a letter is the config type of each."""
    earlier = frozenset(residual(number, 1.0, "").structure.structure_id for number in range(n_earlier))
    pairs = PairedErrors(earlier)
    for number, error in enumerate(own):
        pairs.add_own(residual(number, error, types[number]))
    for number, error in enumerate(parent):
        pairs.add_parent(residual(number, error, types[number]))
    return pairs.ratios
