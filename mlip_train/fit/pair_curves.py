"""What a potential makes of two atoms that approach each other, alone and among others."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms

from mlip_train.atoms.approaches import Approach
from mlip_train.base.arrays import FloatArray
from mlip_train.base.frozen import Frozen
from mlip_train.errors import InconsistentPotentialError

__all__ = ["ALONE", "NEAREST", "Growth", "PairCurve", "decisive", "pair_curves"]


ALONE: Final = "alone"
NEAREST: Final = 0.4  # Å
_STEP: Final = 0.01  # Å, up to _FAR
_FAR: Final = 3.0  # Å
_FAR_STEP: Final = 0.05  # Å
_COARSE_STEP: Final = 0.02  # Å, among others, which takes longer
_HOLE: Final = 5.0  # eV; deeper than a chemical bond
_RIPPLE: Final = 0.05  # eV; shallower than room temperature shakes a bond
_CLIFF: Final = 5.0  # eV/Å; a force that MD meets anyway, and more than a doubling


class Growth(NamedTuple):
    """How much something grows that should only fall, and where."""

    start: float  # the value that it grows from
    by: float
    begin: float  # Å
    end: float  # Å


class PairCurve(Frozen):
    """Energy over the distance of two atoms."""

    pair: str
    where: str  # ALONE, or the structure around them
    distances: tuple[float, ...]  # Å
    energies: tuple[float, ...]  # eV; alone: relative to free atoms
    edge: float  # Å, below which nothing is known; among others: their distance in the structure

    @property
    def well(self) -> tuple[float, float]:
        """How much lower (eV) than at the edge the energy is below it, at most, and at which distance (Å)."""
        r, energy = self._below_edge
        lowest = int(np.argmin(energy))
        return float(energy[-1] - energy[lowest]), float(r[lowest])

    @property
    def barrier(self) -> float:
        """How much higher (eV) than at the edge the energy is between it and the bottom of the well, at most."""
        _, energy = self._below_edge
        return float(energy[int(np.argmin(energy)) :].max() - energy[-1])

    @property
    def rise(self) -> Growth:
        """The largest rise of the energy (eV) while the atoms move apart below the edge."""
        return _largest_growth(*self._below_edge)

    @property
    def jump(self) -> Growth:
        """The largest growth of the repulsive force (eV/Å) while the atoms move apart below the edge.

        Pair repulsions only weaken with distance; what grows is a cliff between two descriptions.
        """
        r, energy = self._below_edge
        return _largest_growth((r[1:] + r[:-1]) / 2, -np.diff(energy) / np.diff(r))

    def hole(self) -> str | None:
        """Say where the atoms fall into each other; None if nowhere."""
        depth, at = self.well
        if depth <= _HOLE:
            return None
        return f"{self._who} fall into each other, {depth:.3g} eV deep at {at:.2f} Å ({self._edge_words})"

    def uneven(self) -> list[str]:
        """Say where the repulsion is not smooth, a sentence for each place."""
        sentences, rise, jump = [], self.rise, self.jump
        if not rise.by <= _RIPPLE:
            sentences.append(
                f"{self._who} attract each other between {rise.begin:.2f} and {rise.end:.2f} Å ({rise.by:.3g} eV; "
                f"{self._edge_words})"
            )
        if not jump.by <= max(_CLIFF, jump.start):
            sentences.append(
                f"{self._who}: the repulsion jumps from {jump.start:.3g} to {jump.start + jump.by:.3g} eV/Å "
                f"between {jump.begin:.2f} and {jump.end:.2f} Å; MD needs a short time step there"
            )
        return sentences

    @property
    def _below_edge(self) -> tuple[FloatArray, FloatArray]:
        r, energy = np.array(self.distances), np.array(self.energies)
        return r[r <= self.edge], energy[r <= self.edge]

    @property
    def _who(self) -> str:
        one, other = self.pair.split("-")
        return f"{one} and {other} {'alone' if self.where == ALONE else f'in {self.where}'}"

    @property
    def _edge_words(self) -> str:
        return f"nothing is known below {self.edge:.2f} Å"


def pair_curves(calculator: Any, approaches: Iterable[Approach], cutoff: float) -> list[PairCurve]:
    """Curves of all pairs of elements, with an ASE calculator.

    Alone, two atoms are moved from `NEAREST` to the cutoff (Å); in the structure where they come closest, from
    `NEAREST` to their distance in it. Where an atom and its own image come closest, there is no such curve.

    Raises
    ------
    InconsistentPotentialError
        When an energy is not a finite number.
    """
    curves = []
    for approach in approaches:
        edge, collision = approach.edge, approach.collision
        nearest = min(NEAREST, 0.5 * edge)
        near = np.arange(nearest, max(min(_FAR, cutoff), edge), _STEP)
        distances = np.concatenate([near, np.arange(near[-1] + _FAR_STEP, cutoff, _FAR_STEP)])
        energies = _energies(calculator, partial(_dimer, approach.pair), distances, f"{approach.pair} alone")
        curves.append(_as_curve(approach.pair, ALONE, distances, energies, edge))
        if collision is not None:
            distances = np.arange(nearest, collision.distance, _COARSE_STEP, dtype=float)
            energies = _energies(calculator, collision.at, distances, f"{approach.pair} in {collision}")
            curves.append(_as_curve(approach.pair, str(collision), distances, energies, collision.distance))
    return curves


def decisive(curves: Iterable[PairCurve]) -> list[PairCurve]:
    """Of each pair the curve that tells most: among others, where there is one.

    How the energy of a compound is shared out between its elements is arbitrary, so what two free atoms of them
    do says little.
    """
    best: dict[str, PairCurve] = {}
    for curve in curves:
        if curve.where != ALONE or curve.pair not in best:
            best[curve.pair] = curve
    return list(best.values())


def _dimer(pair: str, r: float) -> Atoms:
    return Atoms(pair.split("-"), positions=[[0.0, 0.0, 0.0], [0.0, 0.0, r]])


def _energies(calculator: Any, at: Callable[[float], Atoms], distances: FloatArray, what: str) -> list[float]:
    energies = []
    for r in distances:
        calculator.calculate(at(r))
        energies.append(float(calculator.results["energy"]))
        if not np.isfinite(energies[-1]):
            raise InconsistentPotentialError(
                f"the energy of {what} at {r:.2f} Å is {energies[-1]}; the potential is of no use. Train it again "
                "with more, or more varied, data"
            )
    return energies


def _as_curve(pair: str, where: str, distances: FloatArray, energies: list[float], edge: float) -> PairCurve:
    rounded = np.round(distances, 6).tolist()
    return PairCurve(pair=pair, where=where, distances=tuple(rounded), energies=tuple(energies), edge=edge)


def _largest_growth(r: FloatArray, falling: FloatArray) -> Growth:
    end = int(np.argmax(falling - np.minimum.accumulate(falling)))
    begin = int(np.argmin(falling[: end + 1]))
    lowest = float(falling[begin])
    return Growth(start=lowest, by=float(falling[end]) - lowest, begin=float(r[begin]), end=float(r[end]))
