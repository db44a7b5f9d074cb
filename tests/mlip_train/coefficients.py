"""The coefficients of a B-basis file's first density, in the order of `Projector`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlip_train.ace.library import ACEBBasisSet, BBasisConfiguration

__all__ = ["first_density", "set_first_density"]


def _by_density(basis: ACEBBasisSet) -> NDArray[np.float64]:
    n_functions = sum(map(len, basis.basis_rank1)) + sum(map(len, basis.basis))
    return np.array(basis.basis_coeffs).reshape(n_functions, -1)


def first_density(bbasis: Path) -> NDArray[np.float64]:
    """One coefficient per function."""
    return _by_density(ACEBBasisSet(BBasisConfiguration(str(bbasis))))[:, 0]


def set_first_density(bbasis: Path, coefficients: NDArray[np.float64], target: Path) -> None:
    """Write a copy with other coefficients of the first density."""
    basis = ACEBBasisSet(BBasisConfiguration(str(bbasis)))
    everything = _by_density(basis)
    everything[:, 0] = coefficients
    basis.basis_coeffs = everything.reshape(-1).tolist()
    basis.to_BBasisConfiguration().save(str(target))
