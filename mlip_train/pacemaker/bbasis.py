"""B-basis files (.yaml): reading them with care, preparing one to continue from, exporting."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlip_train.errors import EngineError
from mlip_train.files import atomic_path
from mlip_train.pacemaker.library import ACEBBasisSet, BBasisConfiguration

__all__ = ["coefficients_of", "elements_of", "export_yace", "load_bbasis", "prepare_start"]


def load_bbasis(path: Path) -> Any:
    """Read a B-basis whose coefficients are all finite.

    Raises
    ------
    EngineError
        When the file is missing, truncated or holds numbers that are not finite.
    """
    try:
        configuration = BBasisConfiguration(str(path))
        coefficients = np.array(configuration.get_all_coeffs())
    except (RuntimeError, ValueError, OSError) as error:  # what the C++ reader raises
        raise EngineError(f"{path} is not a readable B-basis potential: {error}") from error
    if coefficients.size == 0 or not np.isfinite(coefficients).all():
        raise EngineError(f"{path} holds no coefficients, or some that are not finite numbers")
    return configuration


def coefficients_of(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """All coefficients of a B-basis file, radial ones first; see `load_bbasis` for errors."""
    return np.array(load_bbasis(path).get_all_coeffs(), dtype=float)


def elements_of(path: Path) -> list[str]:
    """Elements that a B-basis file describes; see `load_bbasis` for errors."""
    return [str(element) for element in ACEBBasisSet(load_bbasis(path)).elements_name]


def prepare_start(parent: Path, start: Path) -> None:
    """Write a copy of a parent B-basis that the engine really continues from.

    Removed are the marks of a finished fit, which would make the engine do nothing, and the core
    repulsion, which trainer and exported file treat differently.
    """
    configuration = load_bbasis(parent)
    for mark in ("_fit_cycles", "_loss"):
        if mark in configuration.metadata:
            del configuration.metadata[mark]
    for block in configuration.funcspecs_blocks:
        n_species = len(set(block.elements_vec))  # the list repeats the only species of a unary block
        if n_species <= 2:
            block.r_in = 0.0
            block.delta_in = 0.0
            block.inner_cutoff_type = "distance"
            block.core_rep_parameters = [0.0, 0.0]
        if n_species == 1:
            block.rho_cut = 1e5
            block.drho_cut = 250.0
    with atomic_path(start) as temporary:
        configuration.save(str(temporary))


def export_yace(bbasis: Path, yace: Path) -> None:
    """Convert a B-basis to the form that MD codes read (irreversibly), in one step."""
    with tempfile.TemporaryDirectory(dir=yace.parent, prefix=".export-") as folder, atomic_path(yace) as target:
        exported = Path(folder) / "potential.yace"
        ACEBBasisSet(load_bbasis(bbasis)).to_ACECTildeBasisSet().save_yaml(str(exported))
        exported.rename(target)
