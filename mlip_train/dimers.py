"""Dimer curves: what a potential makes of two atoms alone, from almost touching to the cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip_train.model import FrozenModel
from mlip_train.priors import pairs_of

__all__ = ["NEAREST", "DimerCurve", "dimer_curves"]

FloatArray = NDArray[np.float64]

NEAREST: Final = 0.4  # Å
_STEP: Final = 0.01  # Å, up to _FAR
_FAR: Final = 3.0  # Å
_FAR_STEP: Final = 0.05  # Å
TOLERATED_RISE: Final = 0.05  # eV; shallower than room temperature shakes a bond
TOLERATED_JUMP: Final = 5.0  # eV/Å; a force that MD meets anyway, and more than a doubling


class Growth(NamedTuple):
    """How much something grows that should only fall, and where."""

    of: float  # the value that it grows from
    by: float
    begin: float  # Å
    end: float  # Å


class DimerCurve(FrozenModel):
    """Energy of a pair of atoms over their distance."""

    pair: str
    distances: tuple[float, ...]  # Å
    energies: tuple[float, ...]  # eV, relative to free atoms
    shortest: float  # Å, in the data, or where they have no such pair the sum of the covalent radii

    @property
    def rise(self) -> Growth:
        """The largest rise of the energy (eV) while the atoms move apart below `shortest`.

        A potential without a hole falls all the way: the rise is zero.
        """
        return _largest_growth(*self._short)

    @property
    def jump(self) -> Growth:
        """The largest growth of the repulsive force (eV/Å) while the atoms move apart below `shortest`.

        Pair repulsions only weaken with distance; what grows is a cliff between two descriptions.
        """
        r, energy = self._short
        return _largest_growth((r[1:] + r[:-1]) / 2, -np.diff(energy) / np.diff(r))

    def hole(self) -> str | None:
        """Where the atoms fall into each other, in a sentence; None if nowhere."""
        rise = self.rise
        if rise.by <= TOLERATED_RISE:
            return None
        return (
            f"{self.pair}: two atoms closer than {rise.end:.2f} Å fall together ({rise.by:.3g} eV, down to "
            f"{rise.begin:.2f} Å; shortest distance in the data {self.shortest:.2f} Å)"
        )

    def cliff(self) -> str | None:
        """Where the force jumps, in a sentence; None if nowhere."""
        jump = self.jump
        if jump.by <= max(TOLERATED_JUMP, jump.of):
            return None
        return (
            f"{self.pair}: the repulsion of two atoms jumps from {jump.of:.3g} to {jump.of + jump.by:.3g} eV/Å "
            f"between {jump.begin:.2f} and {jump.end:.2f} Å; MD needs a short time step there"
        )

    @property
    def _short(self) -> tuple[FloatArray, FloatArray]:
        r, energy = np.array(self.distances), np.array(self.energies)
        return r[r <= self.shortest], energy[r <= self.shortest]


def dimer_curves(
    calculator: Any, elements: Sequence[str], cutoff: float, shortest: Mapping[str, float]
) -> dict[str, DimerCurve]:
    """Energy of every pair of elements from `NEAREST` to the cutoff (Å), with an ASE calculator."""
    near = np.arange(NEAREST, min(_FAR, cutoff), _STEP)
    distances = np.concatenate([near, np.arange(near[-1] + _FAR_STEP, cutoff, _FAR_STEP)])
    return {
        pair: DimerCurve(
            pair=pair,
            distances=tuple(np.round(distances, 6).tolist()),
            energies=tuple(_energy(calculator, pair, r) for r in distances),
            shortest=shortest[pair],
        )
        for pair in pairs_of(elements)
    }


def _largest_growth(r: FloatArray, falling: FloatArray) -> Growth:
    end = int(np.argmax(falling - np.minimum.accumulate(falling)))
    begin = int(np.argmin(falling[: end + 1]))
    lowest = float(falling[begin])
    return Growth(of=lowest, by=float(falling[end]) - lowest, begin=float(r[begin]), end=float(r[end]))


def _energy(calculator: Any, pair: str, distance: float) -> float:
    calculator.calculate(Atoms(pair.split("-"), positions=[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
    return float(calculator.results["energy"])
