"""A published potential: its files, where it comes from, and how good it is."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mlip_train.campaign import BUNDLE_SUFFIXES, Campaign
from mlip_train.deployed import deployed_calculator
from mlip_train.errors import CorruptFileError, InputError
from mlip_train.evaluation import Evaluation
from mlip_train.files import copy_atomically, sha256_of, write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.lammps import lammps_include
from mlip_train.model import FrozenModel
from mlip_train.priors import PairPotential
from mlip_train.reference import SettledReference

__all__ = ["Lineage", "Potential", "PotentialRecord", "Start", "TrainingHistory", "publish"]


class Start(FrozenModel):
    """What a fit began from."""

    kind: Literal["zeros", "linear", "previous"]
    reason: str
    generation: int | None = None  # continued, or (kind linear) whose radial functions are kept
    grown_by: int = 0  # functions that the continued potential did not have
    resumed_after: int = 0  # iterations done in attempts that were interrupted

    def __str__(self) -> str:
        match self.kind:
            case "zeros":
                began = "starts from zeros"
            case "linear" if self.generation is None:
                began = "starts from the linear solution"
            case "linear":
                began = (
                    f"starts from the linear solution with the radial functions of generation {self.generation}"
                )
            case "previous":
                began = f"continues generation {self.generation}"
        grown = f", grown by {self.grown_by} functions" if self.grown_by else ""
        resumed = f"; resumed after {self.resumed_after} iterations" if self.resumed_after else ""
        return f"{began}{grown} ({self.reason}){resumed}"


class Lineage(FrozenModel):
    """Everything that determines a potential."""

    start: Start
    parent_sha256: str | None  # of the B-basis that was continued
    dataset_hash: str
    config_hash: str
    basis_hash: str
    n_train: int  # structures that the fit learned from
    n_test: int
    engine: dict[str, str]
    reference: SettledReference = SettledReference()


class TrainingHistory(FrozenModel):
    """Training errors per iteration; iteration 0 is the start."""

    iteration: tuple[int, ...]
    loss: tuple[float, ...]
    energy_rmse: tuple[float, ...]  # meV/atom
    force_rmse: tuple[float, ...]  # meV/Å
    test_iteration: tuple[int, ...] = ()
    test_loss: tuple[float, ...] = ()


class PotentialRecord(FrozenModel):
    """The content of potential_gen_NN.json."""

    format: Literal[1] = 1
    generation: int
    created: datetime
    elements: tuple[str, ...]
    cutoff: float  # Å
    reference_energies: dict[str, float]  # eV, to be added per atom to get DFT totals
    files: dict[str, str]  # name -> sha256
    lineage: Lineage
    convergence: str = "not recorded"  # why the fit ended
    history: TrainingHistory
    errors: Evaluation
    seconds: dict[str, float]  # of the engine in the fit's last attempt, and where they went
    devices: str | None = None  # that TensorFlow computed on


class Potential(FrozenModel):
    """A published bundle, found by its .json file."""

    path: Path
    record: PotentialRecord

    @classmethod
    def load(cls, path: str | Path) -> Potential:
        """Read a bundle, named by any of its files, and compare them with their checksums.

        Raises
        ------
        InputError
            When there is no such bundle.
        CorruptFileError
            When a file of it is missing or was changed.
        """
        path = Path(path).resolve()
        if path.suffix in BUNDLE_SUFFIXES:
            path = path.with_suffix(".json")
        if not path.is_file():
            raise InputError(f"{path} does not exist; a published potential is named potential_gen_NN.json")
        try:
            record = PotentialRecord.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise CorruptFileError(
                f"{path} is not the record of a published potential; give potential_gen_NN.json "
                "or a file beside it"
            ) from error
        for name, checksum in record.files.items():
            file = path.parent / name
            if not file.is_file() or sha256_of(file) != checksum:
                raise CorruptFileError(
                    f"{file} is missing or differs from the checksum in {path.name}; restore it from a backup"
                )
        return cls(path=path, record=record)

    @classmethod
    def current(cls, campaign: Campaign) -> Potential | None:
        """The newest accepted potential of a campaign, or None before the first."""
        if not campaign.current_pointer.exists():
            return None
        try:
            generation = int(json.loads(campaign.current_pointer.read_bytes())["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFileError(
                f"{campaign.current_pointer} is not readable; remove it, and the next run writes it anew"
            ) from error
        return cls.load(campaign.bundle_record(generation))

    @property
    def generation(self) -> int:
        """Number of the generation."""
        return self.record.generation

    @property
    def yaml(self) -> Path:
        """B-basis file; what the next generation continues from."""
        return self.path.with_suffix(".yaml")

    @property
    def yace(self) -> Path:
        """The file for MD codes."""
        return self.path.with_suffix(".yace")

    @property
    def asi(self) -> Path:
        """Inverse of the active set, for extrapolation grades."""
        return self.path.with_suffix(".asi")

    @property
    def lmp(self) -> Path:
        """The lines that LAMMPS includes to use the potential."""
        return self.path.with_suffix(".lmp")

    @property
    def errors(self) -> Evaluation:
        """Errors on the training set and the fixed test set."""
        return self.record.errors

    @property
    def baseline(self) -> PairPotential | None:
        """What is to be added to the ACE potential; None where its file is all."""
        return self.record.lineage.reference.baseline

    @property
    def use(self) -> str:
        """How to run it, in a sentence: with a baseline its .yace file is only a part."""
        if self.baseline is None:
            return f"Run {self.yace.name} in MD, or include {self.lmp.name} in LAMMPS"
        difference = f"{self.yace.name} alone is only the difference to {self.record.lineage.reference.kind}"
        return f"{difference}: include {self.lmp.name} in LAMMPS, or use Potential.calculator()"

    def calculator(self) -> Any:
        """ASE calculator: energy (eV), forces (eV/Å), stress (eV/Å³) and `results["gamma"]`.

        gamma is the extrapolation grade of each atom: at most about 1 within what the potential was
        trained on, and the larger the less it is to be trusted. Grades need the B-basis, which is slower
        than the .yace that MD codes run; energies and forces are the same.

        Energies are relative to `record.reference_energies`, as in every MD code that reads the file:
        add that energy once per atom to compare with DFT totals.

        Raises
        ------
        InputError
            When the bundle is of a version of this program that published no active set.
        """
        if self.asi.name not in self.record.files:
            raise InputError(f"{self.path} has no active set; train another generation, which will have one")
        return deployed_calculator(self.yaml, self.baseline, self.asi)


def publish(campaign: Campaign, run: GenerationDirectory, record: PotentialRecord) -> Potential:
    """Put a bundle into the campaign's potentials and make it the current one.

    The record is written last: the bundle exists when its record does. What a crash interrupts is
    finished, or taken back, by the next run.
    """
    target = campaign.bundle_record(record.generation)
    with campaign.publishing(record.generation):
        copy_atomically(run.deployed_potential, target.with_suffix(".yaml"))
        copy_atomically(run.exported_potential, target.with_suffix(".yace"))
        copy_atomically(run.inverse_active_set, target.with_suffix(".asi"))
        reference = record.lineage.reference
        include = lammps_include(target.stem, record.elements, reference.baseline, reference.switches)
        write_atomically(target.with_suffix(".lmp"), include)
        files = {target.with_suffix(s).name: sha256_of(target.with_suffix(s)) for s in BUNDLE_SUFFIXES}
        record = record.model_copy(update={"files": files, "created": datetime.now(UTC)})
        write_atomically(target, record.model_dump_json(indent=1) + "\n")
    if run.scratch.exists():
        shutil.rmtree(run.scratch)
    return Potential.load(target)
