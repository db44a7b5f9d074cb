"""From the spread of a committee to standard deviations of the errors that its potential makes."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from mlip_train.base.arrays import FloatArray
from mlip_train.records.committee import ROUNDING, Calibration, Scaling

__all__ = ["calibrate"]

_FEWEST: Final = 3  # structures from which more can be learned than one factor


def calibrate(errors: Sequence[FloatArray], spreads: Sequence[FloatArray]) -> Calibration | None:
    """Find what the spread of a committee means; None where its members do not differ.

    The exponent is that of the largest likelihood of normal errors whose width is a power of the spread, after
    Musil et al., J. Chem. Theory Comput. 15, 906 (2019), between 0 and 1. Not so the factor: theirs is a mean of
    ratios, which a few members that agree by chance make arbitrarily large.

    Parameters
    ----------
    errors : sequence of (n, d) arrays
        Of each structure, predicted minus DFT in eV/atom (1, 1) or eV/Å (atoms, 3).
    spreads : sequence of (n,) arrays
        Standard deviations over the members, in the same unit: root mean squares over d, which do not change when
        the structure is turned.
    """
    sizes = np.sqrt(np.concatenate([(e**2).mean(axis=1) for e in errors]))
    widths = np.concatenate(spreads)
    error, spread = _rms(sizes), _rms(widths)
    if spread <= ROUNDING:
        return None
    exponent = _exponent(sizes, widths) if len(errors) >= _FEWEST else 1.0
    scaling = Scaling(spread=1e3 * spread, largest=1e3 * float(widths.max()), factor=1.0, exponent=exponent)
    scaling = scaling.model_copy(update={"factor": error / _rms(scaling.calibrated(widths))})
    limits, components = scaling.calibrated(widths)[:, None], np.abs(np.concatenate(errors))
    return Calibration(
        **scaling.model_dump(),
        error=1e3 * error,
        within_one=float((components <= limits).mean()),
        within_two=float((components <= 2 * limits).mean()),
        rank_correlation=_rank_correlation([_rms(e) for e in errors], [_rms(s) for s in spreads]),
    )


def _exponent(sizes: FloatArray, widths: FloatArray) -> float:
    """The most likely g of errors whose variance is a² width^2g, with the best a for each g."""
    differ = widths > ROUNDING  # not forces that vanish by symmetry
    squares, logarithms = sizes[differ] ** 2, np.log(widths[differ])
    if not squares.any():
        return 1.0

    def unlikeliness(g: float) -> float:
        return float(0.5 * np.log(np.mean(squares * np.exp(-2 * g * logarithms))) + g * logarithms.mean())

    return float(minimize_scalar(unlikeliness, bounds=(0.0, 1.0), method="bounded").x)


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _rank_correlation(errors: Sequence[float], spreads: Sequence[float]) -> float | None:
    """None where there is nothing to rank."""
    if len(errors) < _FEWEST or len(set(errors)) == 1 or len(set(spreads)) == 1:
        return None
    return float(spearmanr(errors, spreads).statistic)
