"""Dimer curves: what a potential makes of two atoms alone, from almost touching to the cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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


class DimerCurve(FrozenModel):
    """Energy of a pair of atoms over their distance."""

    pair: str
    distances: tuple[float, ...]  # Å
    energies: tuple[float, ...]  # eV, relative to free atoms
    shortest: float  # Å, in the data, or where they have no such pair the sum of the covalent radii

    @property
    def rise(self) -> tuple[float, float, float]:
        """The largest rise (eV) while the atoms move apart below `shortest`, and between which distances (Å).

        A potential without a hole falls all the way: the rise is zero.
        """
        r, energy = self._short
        lowest = np.minimum.accumulate(energy)
        end = int(np.argmax(energy - lowest))
        begin = int(np.argmin(energy[: end + 1]))
        return float(energy[end] - energy[begin]), float(r[begin]), float(r[end])

    @property
    def steepening(self) -> float:
        """How much the repulsive force (eV/Å) grows again while the atoms move apart below `shortest`.

        Pair repulsions only weaken with distance; what grows is a cliff between two descriptions.
        """
        r, energy = self._short
        forces = -np.diff(energy) / np.diff(r)
        return float(np.clip(np.diff(forces), 0.0, None).sum())

    def problem(self) -> str | None:
        """What is wrong at short distance, in a sentence; None if nothing is."""
        rise, begin, end = self.rise
        if rise <= TOLERATED_RISE:
            return None
        return (
            f"{self.pair}: two atoms closer than {end:.2f} Å fall together ({rise:.3g} eV, down to {begin:.2f} Å; "
            f"shortest distance in the data {self.shortest:.2f} Å)"
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


def _energy(calculator: Any, pair: str, distance: float) -> float:
    calculator.calculate(Atoms(pair.split("-"), positions=[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
    return float(calculator.results["energy"])
