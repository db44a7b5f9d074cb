"""From the spread of a committee to standard deviations of the errors that its potential makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from mlip_train.model import FrozenModel

__all__ = ["Calibration", "CommitteeRecord", "calibrate"]

FloatArray = NDArray[np.float64]

_ROUNDING: Final = 1e-9  # eV/atom or eV/Å; members that differ by less are the same
_FEWEST: Final = 3  # structures from which more can be learned than one factor


class Scaling(FrozenModel):
    """What a spread of energies per atom (meV/atom) or of force components (meV/Å) means.

    The standard deviation of an error is `factor * spread` for the spread given here, and otherwise goes with the
    spread to the power of `exponent`: 1 is proportional, 0 a spread that says nothing.
    """

    spread: float  # standard deviation over the members, root mean square over the test set
    largest: float  # largest spread in the test set
    factor: float
    exponent: float

    def calibrated(self, spreads: FloatArray) -> FloatArray:
        """Standard deviations of the errors, in the unit and shape of the spreads (eV/atom or eV/Å).

        Beyond the largest spread that was tested they are proportional. What makes small spreads too small, such
        as the limits of a basis that all members share, is no reason to damp large ones.
        """
        tested = np.clip(1e3 * spreads, 1e3 * _ROUNDING, self.largest)
        return self.factor * spreads * (tested / self.spread) ** (self.exponent - 1)


class Calibration(Scaling):
    """The same with what came of it on the test set that it was found on."""

    error: float  # of the potential itself, root mean square, which that of calibrated spreads is too
    within_one: float  # share of errors below the calibrated standard deviation; 0.68 of a normal distribution
    within_two: float  # below twice that; 0.95
    rank_correlation: float | None  # Spearman's, of spread and error from structure to structure

    def told(self, unit: str) -> str:
        """In words."""
        ranked = "" if self.rank_correlation is None else f", rank correlation {self.rank_correlation:.2f}"
        return (
            f"{self.spread:.3g} {unit} for errors of {self.error:.3g} ({self.within_one:.0%} of them within one "
            f"calibrated standard deviation, {self.within_two:.0%} within two{ranked})"
        )


class CommitteeRecord(FrozenModel):
    """What a bundle says of its committee."""

    members: tuple[int, ...]  # their numbers
    n_structures: int  # of the test set
    energy: Calibration | None = None  # None where there was no test set, or the members do not differ on it
    force: Calibration | None = None

    def __str__(self) -> str:
        told = [c.told(unit) for c, unit in ((self.energy, "meV/atom"), (self.force, "meV/Å")) if c is not None]
        if not told:
            why = "the members do not differ" if self.n_structures else "there is no test set"
            return f"{len(self.members)} members, whose spread is not calibrated: {why}"
        return f"{len(self.members)} members; spread on {self.n_structures} test structures: {', '.join(told)}"


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
    if spread <= _ROUNDING:
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
    differ = widths > _ROUNDING  # not forces that vanish by symmetry
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
