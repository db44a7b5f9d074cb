"""A potential as MD runs it: ACE, and beside it the baseline that was subtracted from its labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlip_train.pacemaker.library import PyACECalculator
from mlip_train.priors import PairPotential

__all__ = ["SumCalculator", "deployed_calculator"]


class SumCalculator(Calculator):
    """ACE plus a pair potential: energy (eV), forces (eV/Å), stress (eV/Å³) and, by ACE alone, `gamma`."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, ace: PyACECalculator, baseline: PairPotential) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ace, self.baseline = ace, baseline

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: Iterable[str] = all_changes,
    ) -> None:
        """Fill `results`; see `PairPotential.compute` for errors."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure = cast("Atoms", self.atoms)
        self.ace.calculate(structure)
        added = self.baseline.compute(structure)
        energy = float(self.ace.results["energy"]) + added.energy
        forces = self.ace.results["forces"] + added.forces
        self.results = {**self.ace.results, "energy": energy, "free_energy": energy, "forces": forces}
        if added.stress is not None:
            self.results["stress"] = self.ace.results["stress"] + added.stress


def deployed_calculator(potential: Path, baseline: PairPotential | None, active_set: Path | None = None) -> Any:
    """ASE calculator of a potential file (.yace or B-basis .yaml) with its baseline.

    Parameters
    ----------
    potential : Path
        Grades need the B-basis.
    baseline : PairPotential or None
        What was subtracted from the labels.
    active_set : Path, optional
        The .asi by which atoms are graded.
    """
    ace = PyACECalculator(str(potential))
    if active_set is not None:
        ace.set_active_set(str(active_set))
    return ace if baseline is None else SumCalculator(ace, baseline)
