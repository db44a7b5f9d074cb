"""A potential as MD runs it: ACE, and beside it the baseline that was subtracted from its labels."""

import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlip_train.ace.library import ACEBBasisSet, PyACECalculator
from mlip_train.ace.warm_start import prepare_start
from mlip_train.atoms.pair_potentials import PairPotential
from mlip_train.errors import EngineError

__all__ = ["ResultsCalculator", "SumCalculator", "calculator_of"]


class ResultsCalculator(Calculator, ABC):
    """An ASE calculator that computes all of its results at once."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    @abstractmethod
    def compute(self, atoms: Atoms) -> dict[str, Any]:
        """Results of a structure: energy (eV), forces (eV/Å), in a bulk stress (eV/Å³), and others."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: Iterable[str] = all_changes,
    ) -> None:
        """Fill `results`; see `compute`."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        self.results = self.compute(cast("Atoms", self.atoms))


class SumCalculator(ResultsCalculator):
    """ACE plus a pair potential: energy (eV), forces (eV/Å), in a bulk stress (eV/Å³), and perhaps `gamma`."""

    def __init__(
        self, ace: PyACECalculator, baseline: PairPotential, grading: PyACECalculator | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ace, self.baseline, self.grading = ace, baseline, grading

    def compute(self, atoms: Atoms) -> dict[str, Any]:
        """Add the two; see `PairPotential.compute` for errors."""
        self.ace.calculate(atoms)
        added = self.baseline.compute(atoms)
        energy = float(self.ace.results["energy"]) + added.energy
        forces = self.ace.results["forces"] + added.forces
        results = {"energy": energy, "free_energy": energy, "forces": forces, "baseline_energy": added.energy}
        if added.stress is not None:
            results["stress"] = self.ace.results["stress"] + added.stress
        if self.grading is not None:
            self.grading.calculate(atoms)
            results["gamma"] = self.grading.results["gamma"]
        return results


def calculator_of(potential: Path, baseline: PairPotential | None, active_set: Path | None = None) -> Any:
    """ASE calculator of a potential file (.yace or B-basis .yaml) with its baseline.

    Parameters
    ----------
    potential : Path
        Grades need the B-basis.
    baseline : PairPotential or None
        What was subtracted from the labels.
    active_set : Path, optional
        The .asi by which atoms are graded.

    Raises
    ------
    EngineError
        When the file is missing or damaged.
    """
    if baseline is None:
        return _graded(potential, active_set) if active_set else _opened(potential)
    grading = _graded_everywhere(potential, active_set) if active_set else None
    return SumCalculator(_opened(potential), baseline, grading)


def _graded(potential: Path, active_set: Path) -> PyACECalculator:
    with _explained(potential):
        ace = PyACECalculator(str(potential))
    ace.set_active_set(str(active_set))
    return ace


def _opened(potential: Path) -> PyACECalculator:
    """As `pair_style pace recursive`: the same numbers to rounding, up to three times as fast."""
    with _explained(potential):
        is_bbasis = potential.suffix == ".yaml"
        basis = ACEBBasisSet(str(potential)).to_ACECTildeBasisSet() if is_bbasis else str(potential)
        return PyACECalculator(basis, recursive_evaluator=True, recursive=True)


@contextlib.contextmanager
def _explained(potential: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:  # what the C++ reader raises
        raise EngineError(
            f"{potential} is not a readable potential: {error}. Of a generation in training, run the same command "
            "again, which exports it anew; restore a published one from a backup"
        ) from error


def _graded_everywhere(potential: Path, active_set: Path) -> PyACECalculator:
    """Grade with the functions as they were fitted: where they fade out, atoms would seem well known."""
    with tempfile.TemporaryDirectory() as folder:
        as_fitted = Path(folder) / "as_fitted.yaml"
        prepare_start(potential, as_fitted)
        return _graded(as_fitted, active_set)
