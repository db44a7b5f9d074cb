"""Pair potentials that know what happens at short distance: ZBL and Lennard-Jones.

They are those of LAMMPS to rounding, switches and shifts included, because what is subtracted from the
labels here is added again by an MD code there. ZBL is ``pair_style zbl`` (Ziegler, Biersack, Littmark,
The Stopping and Range of Ions in Solids, 1985), Lennard-Jones ``pair_style lj/cut`` with
``pair_modify shift yes``; both in LAMMPS' units ``metal``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.stress import full_3x3_to_voigt_6_stress
from pydantic import Field, PositiveFloat, model_validator

from mlip_train.atoms.neighbours import neighbours
from mlip_train.atoms.pairs import by_pair
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.frozen import Frozen
from mlip_train.errors import InputError

__all__ = [
    "Baseline",
    "LJParameters",
    "LennardJonesPotential",
    "PairPotential",
    "SwitchRadii",
    "ZBLPotential",
]

# LAMMPS' pair_zbl_const.h: φ(x) = Σ c exp(-d x), x = r / a, a = 0.46850 Å / (Zi^0.23 + Zj^0.23)
_SCREENING: Final = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
_LENGTH: Final = 0.46850  # Å
_POWER: Final = 0.23
_COULOMB: Final = 14.399645  # eV Å, e²/(4πε₀) in units metal


class SwitchRadii(Frozen):
    """Two distances (Å) between which one description of a pair hands over to another."""

    inner: PositiveFloat = Field(description="Below it the inner description alone, Å.")
    outer: PositiveFloat = Field(description="Above it the outer description alone, Å.")

    @model_validator(mode="after")
    def _are_ordered(self) -> SwitchRadii:
        if self.inner >= self.outer:
            raise ValueError(f"inner {self.inner:g} Å must be below outer {self.outer:g} Å")
        return self


class LJParameters(Frozen):
    """Lennard-Jones parameters of one pair of elements."""

    epsilon: float = Field(gt=0, le=100, description="Well depth in eV.")
    sigma: float = Field(ge=0.5, le=10, description="Distance of zero energy in Å.")


@dataclass(frozen=True)
class PairResults:
    """What a pair potential makes of a structure."""

    energy: float  # eV
    forces: FloatArray  # (n, 3), eV/Å
    stress: FloatArray | None  # (6,), eV/Å³ Voigt, ASE sign; None unless periodic in all directions


class PairPotential(Frozen, ABC):
    """A sum over pairs of atoms, of parameters that depend on their elements."""

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Distance in Å beyond which no pair feels anything."""

    @property
    @abstractmethod
    def pair_names(self) -> tuple[str, ...]:
        """The pairs of elements that it describes."""

    @abstractmethod
    def pair_energy(self, pair: str, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energy (eV) and its derivative (eV/Å) of one pair of elements at distances r (Å, above 0)."""

    def compute(self, atoms: Atoms) -> PairResults:
        """Energy, forces and stress of a structure.

        Raises
        ------
        InputError
            When two atoms within the cutoff are of a pair that is not described, or at the same place.
        """
        first, second, distances, vectors = neighbours(atoms, self.cutoff)
        if len(distances) and distances.min() == 0.0:
            raise InputError("two atoms are at the same place; a pair potential is infinite there. Move one")
        energies, slopes = np.zeros_like(distances), np.zeros_like(distances)
        for pair, members in by_pair(atoms.numbers[first], atoms.numbers[second]).items():
            energies[members], slopes[members] = self._known_pair(pair, distances[members])
        pulls = (slopes / distances)[:, None] * vectors  # of the second atom on the first
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, pulls)
        stress = None
        if atoms.pbc.all():
            virial = 0.5 * np.einsum("pa,pb->ab", pulls, vectors)
            stress = full_3x3_to_voigt_6_stress(virial / atoms.get_volume())
        return PairResults(energy=0.5 * float(energies.sum()), forces=forces, stress=stress)

    def subtracted(self, structure: Structure) -> Structure:
        """A structure whose labels are what is left when this potential is taken away.

        A stress that is not one of a bulk has no counterpart here, and is left out.
        """
        mine = self.compute(structure.to_atoms())
        stress = None
        if structure.stress is not None and mine.stress is not None:
            stress = structure.stress - mine.stress
        return replace(
            structure, energy=structure.energy - mine.energy, forces=structure.forces - mine.forces, stress=stress
        )

    def _known_pair(self, pair: str, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        if pair not in self.pair_names:
            raise InputError(f"the reference potential does not describe {pair} (it knows {self.pair_names})")
        return self.pair_energy(pair, r)


class ZBLPotential(PairPotential):
    """Screened nuclear repulsion, switched to zero between two radii per pair."""

    kind: Literal["zbl"] = "zbl"
    radii: dict[str, SwitchRadii]

    @property
    def cutoff(self) -> float:
        """The largest outer radius in Å."""
        return max(radii.outer for radii in self.radii.values())

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Pairs that have radii."""
        return tuple(self.radii)

    def pair_energy(self, pair: str, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Screened Coulomb repulsion, bent to zero energy, slope and curvature at the outer radius.

        Below the inner radius it is shifted by the constant that this bending leaves, as in LAMMPS.
        """
        inner, outer = self.radii[pair].inner, self.radii[pair].outer
        width = outer - inner
        energy, slope, curvature = (float(each[0]) for each in _screened_coulomb(pair, np.array([outer])))
        cubic = (-3 * slope + width * curvature) / width**2
        quartic = (2 * slope - width * curvature) / width**3
        shift = -energy + width * slope / 2 - width**2 * curvature / 12
        t = np.clip(r - inner, 0.0, None)
        energies, slopes, _ = _screened_coulomb(pair, r)
        energies = energies + shift + cubic / 3 * t**3 + quartic / 4 * t**4
        slopes = slopes + cubic * t**2 + quartic * t**3
        inside = r < outer
        return np.where(inside, energies, 0.0), np.where(inside, slopes, 0.0)


class LennardJonesPotential(PairPotential):
    """Lennard-Jones 12-6, cut and shifted to zero energy at the cutoff."""

    kind: Literal["lj"] = "lj"
    r_cut: PositiveFloat  # Å
    parameters: dict[str, LJParameters]

    @property
    def cutoff(self) -> float:
        """The cutoff in Å, which is that of all pairs."""
        return self.r_cut

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Pairs that have parameters."""
        return tuple(self.parameters)

    def pair_energy(self, pair: str, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """4ε((σ/r)¹² - (σ/r)⁶), minus its value at the cutoff."""
        epsilon, sigma = self.parameters[pair].epsilon, self.parameters[pair].sigma
        sixth, last = (sigma / r) ** 6, (sigma / self.r_cut) ** 6
        energies = 4 * epsilon * (sixth**2 - sixth - last**2 + last)
        slopes = 24 * epsilon * (sixth - 2 * sixth**2) / r
        inside = r < self.r_cut
        return np.where(inside, energies, 0.0), np.where(inside, slopes, 0.0)


Baseline = Annotated[ZBLPotential | LennardJonesPotential, Field(discriminator="kind")]


def _screened_coulomb(pair: str, r: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Energy, slope and curvature of ZiZj e²/(4πε₀ r) φ(r/a)."""
    one, other = (atomic_numbers[element] for element in pair.split("-"))
    length = _LENGTH / (one**_POWER + other**_POWER)
    terms = [(c * np.exp(-d / length * r), d / length) for c, d in _SCREENING]
    screening = sum(term for term, _ in terms)
    falling = sum(-rate * term for term, rate in terms)
    bending = sum(rate**2 * term for term, rate in terms)
    charge = _COULOMB * one * other
    energy = charge / r * screening
    slope = charge / r * (falling - screening / r)
    curvature = charge / r * (bending - 2 * falling / r + 2 * screening / r**2)
    return energy, slope, curvature
