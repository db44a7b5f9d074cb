"""A potential with its committee: what it predicts, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip_train.atoms.pair_potentials import PairPotential
from mlip_train.potential.calculator import ResultsCalculator, calculator_of
from mlip_train.records.committee import Calibration

__all__ = ["CommitteeCalculator", "CommitteeFiles"]


class CommitteeCalculator(ResultsCalculator):
    """Results of a potential, and beside them `energy_std` (eV, total) and `forces_std` ((n,), eV/Å).

    The second is that of each of the three components of the force on an atom, which their root mean square over
    the members is; a few members could not tell their directions apart. Without a calibration these are the
    standard deviations over the members. What is added beside ACE is the same for all of them.
    """

    def __init__(
        self,
        potential: Any,
        members: Sequence[Any],
        of_energy: Calibration | None = None,
        of_force: Calibration | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential, self.members = potential, members
        self.of_energy, self.of_force = of_energy, of_force

    def compute(self, atoms: Atoms) -> dict[str, Any]:
        """Results of the potential, and how far its members differ."""
        for calculator in (self.potential, *self.members):
            calculator.calculate(atoms)
        energies = np.array([member.results["energy"] for member in self.members]) / len(atoms)
        forces = np.array([member.results["forces"] for member in self.members])
        of_energy = energies.std(keepdims=True, ddof=1)
        of_force = np.sqrt(forces.var(axis=0, ddof=1).mean(axis=1))
        if self.of_energy is not None:
            of_energy = self.of_energy.calibrated(of_energy)
        if self.of_force is not None:
            of_force = self.of_force.calibrated(of_force)
        energy_std = len(atoms) * float(of_energy.item())
        return {**self.potential.results, "energy_std": energy_std, "forces_std": of_force}


@dataclass(frozen=True)
class CommitteeFiles:
    """The exported files of a potential and its members; what they hold is known by when they were written."""

    yace: Path
    baseline: PairPotential | None
    members: tuple[Path, ...]
    written: tuple[int, ...]  # ns

    @classmethod
    def of(cls, yace: Path, baseline: PairPotential | None, members: Iterable[Path]) -> CommitteeFiles:
        """Name them as they are now."""
        files = tuple(members)
        return cls(yace, baseline, files, tuple(file.stat().st_mtime_ns for file in (yace, *files)))

    def __hash__(self) -> int:
        return hash((self.yace, self.members, self.written))

    def make(self) -> CommitteeCalculator:
        """Load the calculator of these files, not calibrated."""
        members = [calculator_of(file, None) for file in self.members]
        return CommitteeCalculator(calculator_of(self.yace, self.baseline), members)
