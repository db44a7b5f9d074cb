"""What a generation's fit is: what determines it, what it begins from, and its input files."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mlip_train.campaign import Campaign
from mlip_train.config import CampaignConfig
from mlip_train.dataset import Manifest
from mlip_train.errors import EngineError, InputError
from mlip_train.evaluation import Errors
from mlip_train.files import hash_of, write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.curvature import MOST_COEFFICIENTS, with_curvature
from mlip_train.pacemaker.input_yaml import basis_section, render_input, write_input
from mlip_train.pacemaker.interim import InterimRecord, discard_interim, resumable
from mlip_train.pacemaker.linear_start import LinearSolution
from mlip_train.pacemaker.timings import Timings
from mlip_train.pacemaker.warm_start import prepare_start
from mlip_train.potential import Potential, Start
from mlip_train.priors import PairPotential
from mlip_train.reference import baseline_of
from mlip_train.selection import Selection, chosen_structures, chosen_times
from mlip_train.starting import errors_of_start, lay_basis, make_start
from mlip_train.structures import Structure

__all__ = [
    "FitPlan",
    "FitRecord",
    "finished_fit",
    "learned_structures",
    "plan_fit",
    "prepare_fit",
    "read_plan",
    "write_fit",
]

_UNINFORMED: Final = (
    "The optimiser begins without the curvature of the linear start, which takes BFGS on all coefficients and at "
    f"most {MOST_COEFFICIENTS} of them; expect more iterations"
)
_WIDENED: Final = 2.0  # times; a baseline that suits the data makes forces smaller


class FitPlan(FrozenModel):
    """A fit that is ready to run."""

    campaign: Path
    config: CampaignConfig  # as it was when the run began; a later edit of campaign.yaml does not matter
    generation: int
    member: int = 0  # of the generation's committee; 0 is the generation's own fit
    identity: str  # SHA-256 of everything that determines the result
    start: Start
    solution: LinearSolution | None = None  # with a linear start
    start_errors: Errors | None = None  # of the start potential on the structures of the fit
    epochs: int  # to do now, per ladder step
    parent_sha256: str | None  # of the potential that was current, whether or not the fit continues it
    dataset_hash: str
    basis_hash: str
    n_train: int  # structures to learn from
    n_test: int

    @property
    def run(self) -> GenerationDirectory:
        """The run's files."""
        return _run_of(Campaign(self.campaign), self.generation, self.member)

    @property
    def name(self) -> str:
        """What is fitted, for logs."""
        return f"generation {self.generation}" + (f", member {self.member}" if self.member else "")

    @property
    def baseline(self) -> PairPotential | None:
        """What is subtracted from the labels and added to the predictions."""
        return baseline_of(self.config.reference, self.config.elements)

    @property
    def is_linear(self) -> bool:
        """Whether the linear solution is the potential and the engine is not run."""
        return self.config.fit.max_epochs == 0

    @property
    def most_iterations(self) -> int:
        """Iterations that the fit takes in all if nothing stops it early."""
        basis = self.config.basis
        if basis.ladder_step is None or self.start.kind != "zeros":
            return self.start.resumed_after + self.epochs
        n_functions = basis.functions_per_element * len(self.config.elements)
        return self.start.resumed_after + self.epochs * math.ceil(n_functions / basis.ladder_step)


class FitRecord(FrozenModel):
    """A fit that ended well."""

    identity: str
    start: Start
    stopped: str  # why it ended
    left_out: int  # structures that the weighting policy did not use
    seconds: float  # of the engine in the last attempt, from start to exit
    return_code: int
    engine: dict[str, str]
    devices: str | None = None  # that TensorFlow computed on
    timings: Timings | None = None  # of the last attempt


def plan_fit(
    campaign: Campaign,
    generation: int,
    selection: Selection,
    on_progress: Callable[[int], None] = lambda done: None,
) -> FitPlan:
    """Decide what a fit is and prepare the potential that it begins from.

    The fit resumes an interrupted one if nothing that determines its result has changed. A start that
    was prepared before, or a fit that has ended well before, is not prepared again.

    Raises
    ------
    TrainingFailedError
        When there is no linear solution to begin from.
    """
    config, store, run = campaign.config, campaign.store, campaign.generation(generation)
    parent = Potential.current(campaign)
    parent_sha256 = parent.record.files[parent.yaml.name] if parent else None
    identity = _identity(config, store.manifest, selection, parent_sha256)
    start = lay_basis(config, run, parent)
    plan = FitPlan(
        campaign=campaign.root,
        config=config,
        generation=generation,
        identity=identity,
        start=start,
        epochs=config.fit.max_epochs,
        parent_sha256=parent_sha256,
        dataset_hash=store.manifest.dataset_hash,
        basis_hash=hash_of(basis_section(config)),
        n_train=selection.structures.chosen,
        n_test=store.count("test"),
    )
    return prepare_fit(plan, on_progress)


def prepare_fit(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> FitPlan:
    """Prepare the potential that a fit begins from, and write its plan; see `plan_fit`."""
    finished = finished_fit(plan.run, plan.identity)
    if finished is None:
        plan = _begin(plan, on_progress)
    elif (earlier := _earlier_plan(plan.run, plan.identity)) is not None:
        plan = _as_begun(plan, earlier)
    write_atomically(plan.run.plan, plan.model_dump_json(indent=2) + "\n")
    return plan


def read_plan(campaign: Campaign, generation: int, identity: str, member: int = 0) -> FitPlan:
    """The plan of a generation, or of a member of its committee, as another process wrote it.

    Raises
    ------
    InputError
        When there is none, or a newer one has taken its place.
    """
    run = _run_of(campaign, generation, member)
    plan = _earlier_plan(run, identity)
    if plan is None:
        raise InputError(
            f"{run.plan} is not the plan of the fit that was asked for; start the generation again with "
            f"train-generation, which writes a new one"
        )
    return plan


def _run_of(campaign: Campaign, generation: int, member: int) -> GenerationDirectory:
    run = campaign.generation(generation)
    return run.member(member) if member else run


def _identity(config: CampaignConfig, manifest: Manifest, selection: Selection, parent_sha256: str | None) -> str:
    """Hash of what determines a fit's result; not of paths, or of what only changes its speed."""
    native = render_input(config, manifest.reference_energies, Path(), None, None, config.fit.max_epochs)
    backend = {key: value for key, value in native["backend"].items() if key == "evaluator"}
    data = {key: value for key, value in native["data"].items() if key != "filename"}
    baseline = baseline_of(config.reference, config.elements)
    subtracted = baseline.model_dump() if baseline else None
    content = native | {"backend": backend, "data": data, "start": config.start.model_dump()}
    content["baseline"] = subtracted
    return hash_of([content, manifest.dataset_hash, selection.identity, parent_sha256])


def _begin(plan: FitPlan, on_progress: Callable[[int], None]) -> FitPlan:
    """Write the start potential: an interim one of this fit, the one that was prepared before, or a new one."""
    run, energies = plan.run, Campaign(plan.campaign).store.manifest.reference_energies
    structures = learned_structures(plan)
    earlier = _earlier_plan(run, plan.identity)
    interim = resumable(run, plan.identity)
    if interim is not None and _resume(run):
        start = (earlier or plan).start.model_copy(update={"resumed_after": interim.iterations})
        update: dict[str, Any] = {
            "start": start,
            "solution": earlier.solution if earlier else None,
            "start_errors": errors_of_start(plan.config, run, structures, energies),
            "epochs": _epochs_to_do(plan.config, interim),
        }
        return plan.model_copy(update=update)
    discard_interim(run)
    if earlier is not None and not earlier.start.resumed_after and run.start_potential.exists():
        return _as_begun(plan, earlier)
    run.plan.unlink(missing_ok=True)  # what it says of the start potential is not true from here on
    begun = make_start(plan.config, run, plan.start, structures, energies, on_progress)
    return plan.model_copy(update={"solution": begun.solution, "start_errors": begun.errors})


def _as_begun(plan: FitPlan, earlier: FitPlan) -> FitPlan:
    """The plan with the start that an earlier attempt prepared; all else may have changed since."""
    kept = ("start", "solution", "start_errors")
    return plan.model_copy(update={name: getattr(earlier, name) for name in kept})


def _earlier_plan(run: GenerationDirectory, identity: str) -> FitPlan | None:
    """The plan of an earlier attempt at this very fit."""
    if not run.plan.exists():
        return None
    try:
        plan = FitPlan.model_validate_json(run.plan.read_bytes())
    except ValidationError:  # of another version of this program
        return None
    return plan if plan.identity == identity else None


def _resume(run: GenerationDirectory) -> bool:
    """Begin from the interim potential; only a damaged file keeps a fit from it."""
    try:
        prepare_start(run.interim_potential, run.start_potential)
    except EngineError:
        return False
    return True


def _epochs_to_do(config: CampaignConfig, interim: InterimRecord) -> int:
    """Epochs per ladder step; a resumed ladder gets all of them for the step that was interrupted."""
    if config.basis.ladder_step is not None and not interim.complete:
        return config.fit.max_epochs
    return max(config.fit.max_epochs - interim.iterations, 1)


def write_fit(plan: FitPlan) -> tuple[str, ...]:
    """Write the data and the input.yaml of a planned fit; return what a person should know of them."""
    _write_data(plan)
    notes = _tell_of_widened_labels(plan)
    if plan.is_linear or finished_fit(plan.run, plan.identity) is not None:
        return notes
    return notes + _write_input(plan)


def _write_data(plan: FitPlan) -> None:
    campaign, run = Campaign(plan.campaign), plan.run
    store = campaign.store
    as_learned = plan.baseline.subtracted if plan.baseline else lambda structure: structure
    if not plan.member:
        store.export(campaign.accumulated, "train")
    if plan.n_train == store.count("train") and plan.baseline is None and not plan.member:
        _link_or_copy(campaign.accumulated, run.train_data)
    else:
        store.export(run.train_data, "train", chosen_times(run), as_learned)
    if plan.n_test:
        store.export(run.test_data, "test", as_learned=as_learned)


def _write_input(plan: FitPlan) -> tuple[str, ...]:
    run, interim = plan.run, resumable(plan.run, plan.identity)
    native = render_input(
        plan.config,
        Campaign(plan.campaign).store.manifest.reference_energies,
        run.train_data,
        run.test_data if plan.n_test else None,
        run.start_potential if run.start_potential.exists() else None,
        plan.epochs,
        climb_from_start=interim is not None and not interim.complete,
    )
    if plan.start.kind == "linear" and interim is None and run.start_curvature.exists():
        informed = with_curvature(native, run.start_potential, run.start_curvature)
        write_input(run.input_yaml, informed or native)
        return () if informed else (_UNINFORMED,)
    write_input(run.input_yaml, native)
    return ()


def _tell_of_widened_labels(plan: FitPlan) -> tuple[str, ...]:
    """A baseline is meant to leave less to learn; parameters of another phase or unit leave much more."""
    baseline = plan.baseline
    if baseline is None:
        return ()
    of_dft = remaining = 0.0
    for structure in chosen_structures(Campaign(plan.campaign), plan.run)():
        of_dft += float((structure.forces**2).sum())
        remaining += float((baseline.subtracted(structure).forces ** 2).sum())
    if remaining <= _WIDENED**2 * of_dft:
        return ()
    times = math.sqrt(remaining / of_dft) if of_dft else math.inf
    return (
        f"Without the reference potential the forces to learn are {times:.3g} times as large as those of DFT, so "
        "it hinders more than it helps. Check its parameters and their units, or give smaller ones",
    )


def learned_structures(plan: FitPlan) -> Callable[[], Iterable[Structure]]:
    """Return a function that streams the structures of a fit with the labels that it sees."""
    structures, baseline = chosen_structures(Campaign(plan.campaign), plan.run), plan.baseline
    if baseline is None:
        return structures
    return lambda: map(baseline.subtracted, structures())


def finished_fit(run: GenerationDirectory, identity: str) -> FitRecord | None:
    """The record of this very fit if it has ended well before."""
    if not all(f.exists() for f in (run.fit_record, run.fitted_potential, run.train_predictions)):
        return None
    try:
        record = FitRecord.model_validate_json(run.fit_record.read_bytes())
    except ValidationError:  # of another version of this program: the fit is done again
        return None
    return record if record.identity == identity else None


def _link_or_copy(source: Path, target: Path) -> None:
    """Give the run its own name for the data; it stays when the accumulated file is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
