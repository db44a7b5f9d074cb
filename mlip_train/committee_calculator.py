"""A potential with its committee: what it predicts, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlip_train.calibration import Calibration
from mlip_train.deployed import deployed_calculator
from mlip_train.priors import PairPotential

__all__ = ["CommitteeCalculator", "CommitteeFiles"]


class CommitteeCalculator(Calculator):
    """Results of a potential, and beside them `energy_std` (eV, total) and `forces_std` ((n,), eV/Å).

    The second is that of each of the three components of the force on an atom, which their root mean square over
    the members is; a few members could not tell their directions apart. Without a calibration these are the
    standard deviations over the members. What is added beside ACE is the same for all of them.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

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

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: Iterable[str] = all_changes,
    ) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure = cast("Atoms", self.atoms)
        for calculator in (self.potential, *self.members):
            calculator.calculate(structure)
        energies = np.array([member.results["energy"] for member in self.members]) / len(structure)
        forces = np.array([member.results["forces"] for member in self.members])
        of_energy = energies.std(keepdims=True, ddof=1)
        of_force = np.sqrt(forces.var(axis=0, ddof=1).mean(axis=1))
        if self.of_energy is not None:
            of_energy = self.of_energy.calibrated(of_energy)
        if self.of_force is not None:
            of_force = self.of_force.calibrated(of_force)
        energy_std = len(structure) * float(of_energy.item())
        self.results = {**self.potential.results, "energy_std": energy_std, "forces_std": of_force}


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
        """Its calculator, not calibrated."""
        members = [deployed_calculator(file, None) for file in self.members]
        return CommitteeCalculator(deployed_calculator(self.yace, self.baseline), members)
