"""What the spread of a committee means."""

from typing import Final

import numpy as np

from mlip_train.base.arrays import FloatArray
from mlip_train.base.frozen import Frozen

__all__ = ["ROUNDING", "Calibration", "CommitteeRecord", "Scaling"]

ROUNDING: Final = 1e-9  # eV/atom or eV/Å; members that differ by less are the same


class Scaling(Frozen):
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
        tested = np.clip(1e3 * spreads, 1e3 * ROUNDING, self.largest)
        return self.factor * spreads * (tested / self.spread) ** (self.exponent - 1)


class Calibration(Scaling):
    """A scaling with what came of it on the test set that it was found on."""

    error: float  # of the potential itself, root mean square, which that of calibrated spreads is too
    within_one: float  # share of errors below the calibrated standard deviation; 0.68 of a normal distribution
    within_two: float  # below twice that; 0.95
    rank_correlation: float | None  # Spearman's, of spread and error from structure to structure

    def describe(self, unit: str) -> str:
        """Say in words what was found."""
        ranked = "" if self.rank_correlation is None else f", rank correlation {self.rank_correlation:.2f}"
        return (
            f"{self.spread:.3g} {unit} for errors of {self.error:.3g} ({self.within_one:.0%} of them within one "
            f"calibrated standard deviation, {self.within_two:.0%} within two{ranked})"
        )


class CommitteeRecord(Frozen):
    """What a bundle says of its committee."""

    members: tuple[int, ...]  # their numbers
    n_structures: int  # of the test set
    energy: Calibration | None = None  # None where there was no test set, or the members do not differ on it
    force: Calibration | None = None

    def __str__(self) -> str:
        spreads = [
            c.describe(unit) for c, unit in ((self.energy, "meV/atom"), (self.force, "meV/Å")) if c is not None
        ]
        if not spreads:
            why = "the members do not differ" if self.n_structures else "there is no test set"
            return f"{len(self.members)} members, whose spread is not calibrated: {why}"
        return f"{len(self.members)} members; spread on {self.n_structures} test structures: {', '.join(spreads)}"
