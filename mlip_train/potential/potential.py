"""A published potential: its files, where it comes from, and how good it is."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from mlip_train.atoms.pair_potentials import PairPotential
from mlip_train.base.files import copy_atomically, sha256_of, write_atomically
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import BUNDLE_SUFFIXES, Campaign, bundle_files, member_file
from mlip_train.campaign.fit_plan import Groundwork
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import CorruptFileError, InputError
from mlip_train.potential.calculator import calculator_of
from mlip_train.potential.committee_calculator import CommitteeCalculator
from mlip_train.potential.lammps import lammps_include
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.potential import PotentialRecord

__all__ = ["Potential", "publish"]


class Potential(Frozen):
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
        record = PotentialRecord.load(path)
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
        generation = campaign.current_generation()
        return None if generation is None else cls.load(campaign.bundle_record(generation))

    @classmethod
    def of(cls, campaign: Campaign, generation: int) -> Potential:
        """The published potential of a generation, accepted or not.

        Raises
        ------
        InputError
            When there is none.
        """
        record = campaign.bundle_record(generation)
        if not record.exists():
            known = ", ".join(map(str, campaign.published_generations())) or "none yet"
            raise InputError(f"{campaign.root} has no potential of generation {generation}; there are: {known}")
        return cls.load(record)

    @classmethod
    def parent_of(cls, ground: Groundwork) -> Potential | None:
        """The potential that was current when a generation began, or None before the first."""
        return None if ground.parent is None else cls.load(ground.parent.record)

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
    def members(self) -> tuple[Path, ...]:
        """The files of the committee's members; none without a committee."""
        committee = self.record.committee
        return tuple(member_file(self.path, number) for number in committee.members) if committee else ()

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
        return calculator_of(self.yaml, self.baseline, self.asi)

    def committee_calculator(self) -> CommitteeCalculator:
        """ASE calculator with the results of `calculator()` and `results["energy_std"]`, `results["forces_std"]`.

        They are standard deviations of the errors, of the total energy in eV and of the force components of each
        atom in eV/Å, shape (n,), calibrated on the test set; where `record.committee` has no calibration, those
        over the members.

        Raises
        ------
        InputError
            When the bundle has no committee.
        """
        committee = self.record.committee
        if committee is None:
            raise InputError(
                f"{self.path} has no committee; set committee: {{members: 5}} in campaign.yaml and train another "
                "generation, or use results['gamma'] of calculator()"
            )
        members = [calculator_of(file, None) for file in self.members]
        return CommitteeCalculator(self.calculator(), members, committee.energy, committee.force)


def publish(campaign: Campaign, run: GenerationDirectory, record: PotentialRecord) -> Potential:
    """Put a bundle into the campaign's potentials; one that was accepted becomes the current one.

    The record is written last: the bundle exists when its record does. What a crash interrupts is
    finished, or taken back, by the next run. A rejected bundle of an earlier attempt is kept in the
    run's directory; what a person decided on it counts on when the new one is the same potential.
    """
    target = campaign.bundle_record(record.generation)
    with campaign.publishing(record.generation):
        rejected = _keep_aside(target, run) if target.exists() else None
        copy_atomically(run.closed_potential, target.with_suffix(".yaml"))
        copy_atomically(run.exported_potential, target.with_suffix(".yace"))
        copy_atomically(run.inverse_active_set, target.with_suffix(".asi"))
        reference = record.lineage.reference
        include = lammps_include(target.stem, record.elements, reference.baseline, reference.switches)
        write_atomically(target.with_suffix(".lmp"), include)
        bundle = [target.with_suffix(suffix) for suffix in BUNDLE_SUFFIXES]
        for number in record.committee.members if record.committee else ():
            bundle.append(member_file(target, number))
            copy_atomically(run.member(number).exported_potential, bundle[-1])
        files = {file.name: sha256_of(file) for file in bundle}
        of_same = rejected is not None and rejected.files.get(bundle[0].name) == files[bundle[0].name]
        decisions = rejected.decisions if rejected is not None and of_same else record.decisions
        record = record.model_copy(update={"files": files, "created": datetime.now(UTC), "decisions": decisions})
        record.save(target)
    run.remove_scratch()
    return Potential.load(target)


def _keep_aside(record: Path, run: GenerationDirectory) -> PotentialRecord:
    """Copy a rejected bundle, then give up its name: the bundle exists as long as its record does."""
    content = PotentialRecord.load(record)
    folder = next(folder for n in count(1) if not (folder := run.rejected_bundle(n)).exists())
    files = bundle_files(record)
    for file in (*files, record):
        copy_atomically(file, folder / file.name)
    record.unlink()
    for file in files:
        file.unlink()
    return content
