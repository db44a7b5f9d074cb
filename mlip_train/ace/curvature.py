"""What the optimiser may know of the loss before its first step.

From zeros, BFGS learns the curvature of the loss on the way down. Beginning at the linear solution it
would know nothing and crawl: the stiff directions are at their minimum already, and in the soft ones a step
of unit length is tiny. The normal equations of the linear solution are that curvature, for the
function coefficients; they are handed over as the first inverse Hessian (`hess_inv0` of
scipy.optimize.minimize).
"""

from pathlib import Path
from typing import Final

import numpy as np

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.library import ACEBBasisSet
from mlip_train.base.arrays import FloatArray

__all__ = ["MOST_COEFFICIENTS", "first_inverse_hessian"]

MOST_COEFFICIENTS: Final = 1200  # the engine reads the matrix as text: 20 s for 600, 70 s for 1200
_DAMPING: Final = 1e-6  # of the largest curvature; softer directions count as this soft
_RADIAL: Final = 1e-3  # curvature of the radial coefficients relative to the largest one; measured, not derived


def first_inverse_hessian(bbasis: Path, gram: Path) -> list[list[float]] | None:
    """The inverse Hessian to begin with; None where there are too many coefficients.

    Parameters
    ----------
    bbasis : Path
        The start potential. The engine orders coefficients as radial ones, then functions, each with its
        densities.
    gram : Path
        The gram matrix of the loss over the first density's coefficients (.npy).
    """
    basis = ACEBBasisSet(load_bbasis(bbasis))
    n_radial, n_all = len(basis.crad_coeffs), len(basis.all_coeffs)
    if n_all > MOST_COEFFICIENTS:
        return None
    hessian = 2 * np.load(gram)
    stiffest = float(np.linalg.eigvalsh(hessian)[-1])
    block = np.linalg.inv(hessian + _DAMPING * stiffest * np.eye(len(hessian)))
    inverse: FloatArray = np.zeros((n_all, n_all))
    radial = np.arange(n_radial)
    inverse[radial, radial] = 1 / (_RADIAL * stiffest)
    n_densities = (n_all - n_radial) // len(hessian)
    for density in range(n_densities):
        places = n_radial + density + n_densities * np.arange(len(hessian))
        inverse[np.ix_(places, places)] = (block + block.T) / 2
    plain: list[list[float]] = inverse.tolist()
    return plain
