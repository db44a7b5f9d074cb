"""B-basis files (.yaml): reading them with care, and exporting."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlip_train.ace.library import ACEBBasisSet, BBasisConfiguration
from mlip_train.base.arrays import FloatArray
from mlip_train.base.files import atomic_path
from mlip_train.errors import EngineError

__all__ = ["coefficients_of", "elements_of", "export_yace", "load_bbasis", "with_first_density"]


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


def export_yace(bbasis: Path, yace: Path) -> None:
    """Convert a B-basis to the form that MD codes read (irreversibly), in one step."""
    with tempfile.TemporaryDirectory() as folder, atomic_path(yace) as target:
        exported = Path(folder) / "potential.yace"
        ACEBBasisSet(load_bbasis(bbasis)).to_ACECTildeBasisSet().save_yaml(str(exported))
        shutil.copyfile(exported, target)


def with_first_density(bbasis: Path, coefficients: FloatArray | float, target: Path) -> int:
    """Write a B-basis with these coefficients of its first density; return the number of functions.

    Radial functions and other densities stay as they are.
    """
    configuration = load_bbasis(bbasis)
    basis = ACEBBasisSet(configuration)
    by_density = _coefficients_by_density(basis)
    by_density[:, 0] = coefficients
    basis.basis_coeffs = by_density.reshape(-1).tolist()
    written = basis.to_BBasisConfiguration()
    for key, value in configuration.metadata.items():
        written.metadata[key] = value
    with atomic_path(target) as temporary:
        written.save(str(temporary))
    return len(by_density)


def _coefficients_by_density(basis: Any) -> FloatArray:
    """(functions, densities), element after element."""
    n_functions = sum(map(len, basis.basis_rank1)) + sum(map(len, basis.basis))
    return np.array(basis.basis_coeffs, dtype=np.float64).reshape(n_functions, -1)
