"""One generation of a campaign: what is to be fitted, and what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlip_train.campaign import Campaign
from mlip_train.config import CampaignConfig
from mlip_train.dataset import Manifest
from mlip_train.errors import EngineError, TrainingFailedError
from mlip_train.evaluation import Evaluation, SplitErrors, evaluate, trainer_disagreement
from mlip_train.files import write_atomically
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import export_yace, prepare_start
from mlip_train.pacemaker.input_yaml import basis_section, render_input, write_input
from mlip_train.pacemaker.interim import InterimRecord, discard_interim, resumable
from mlip_train.pacemaker.metrics import place_on, read_metrics
from mlip_train.pacemaker.outcome import collect_outcome, engine_versions
from mlip_train.potential import Lineage, Potential, PotentialRecord, Start, TrainingHistory
from mlip_train.splits import Split
from mlip_train.structures import Structure

__all__ = [
    "FitPlan",
    "FitRecord",
    "evaluate_fit",
    "finish_fit",
    "finished_fit",
    "history_of",
    "plan_fit",
    "record_of",
]


class FitPlan(FrozenModel):
    """A fit that is ready to run."""

    campaign: Path
    config: CampaignConfig  # as it was when the run began; a later edit of campaign.yaml does not matter
    generation: int
    identity: str  # SHA-256 of everything that determines the result
    start: Start
    epochs: int  # to do now, per ladder step
    parent_sha256: str | None  # of the potential that was current, whether or not the fit continues it
    dataset_hash: str
    basis_hash: str
    n_train: int
    n_test: int

    @property
    def run(self) -> GenerationDirectory:
        """The run's files."""
        return Campaign(self.campaign).generation(self.generation)

    @property
    def most_iterations(self) -> int:
        """Iterations that the fit takes in all if nothing stops it early."""
        basis = self.config.basis
        if basis.ladder_step is None or self.start.kind == "previous":
            return self.start.resumed_after + self.epochs
        n_functions = basis.functions_per_element * len(self.config.elements)
        return self.start.resumed_after + self.epochs * math.ceil(n_functions / basis.ladder_step)


class FitRecord(FrozenModel):
    """A fit that ended well."""

    identity: str
    start: Start
    left_out: int  # structures that the weighting policy did not use
    seconds: float  # of the engine in the last attempt, from start to exit
    return_code: int
    engine: dict[str, str]


def plan_fit(campaign: Campaign, generation: int) -> FitPlan:
    """Write the run directory of a generation: data, start potential, input.yaml, plan.json.

    The fit continues an interrupted one if nothing that determines its result has changed, else the
    current potential if the basis is the same, else it starts from zeros. A fit that has ended well
    before is not prepared again.

    Raises
    ------
    TrainingFailedError
        When there is not a single training structure.
    """
    config, store, run = campaign.config, campaign.store, campaign.generation(generation)
    n_train, n_test = store.count("train"), store.count("test")
    if n_train == 0:
        raise TrainingFailedError(f"{store.directory} holds no training structures; add more DFT results")
    parent = Potential.current(campaign)
    parent_sha256 = parent.record.files[parent.yaml.name] if parent else None
    identity = _identity(config, store.manifest, parent_sha256)
    basis_hash = _hash(basis_section(config))
    finished = finished_fit(run, identity)
    if finished is not None:
        start, epochs = finished.start, config.fit.max_epochs
    else:
        run.root.mkdir(parents=True, exist_ok=True)
        start, interim = _choose_start(run, identity, parent, basis_hash)
        epochs = _epochs_to_do(config, interim)
        _write_data(campaign, run)
        _write_input(config, store.manifest, run, start, interim, epochs)
    plan = FitPlan(
        campaign=campaign.root,
        config=config,
        generation=generation,
        identity=identity,
        start=start,
        epochs=epochs,
        parent_sha256=parent_sha256,
        dataset_hash=store.manifest.dataset_hash,
        basis_hash=basis_hash,
        n_train=n_train,
        n_test=n_test,
    )
    write_atomically(run.plan, plan.model_dump_json(indent=2) + "\n")
    return plan


def _identity(config: CampaignConfig, manifest: Manifest, parent_sha256: str | None) -> str:
    """Hash of what determines a fit's result; not of paths, or of what only changes its speed."""
    native = render_input(config, manifest.reference_energies, Path(), None, None, config.fit.max_epochs)
    backend = {key: value for key, value in native["backend"].items() if key == "evaluator"}
    data = {key: value for key, value in native["data"].items() if key != "filename"}
    return _hash([native | {"backend": backend, "data": data}, manifest.dataset_hash, parent_sha256])


def _choose_start(
    run: GenerationDirectory, identity: str, parent: Potential | None, basis_hash: str
) -> tuple[Start, InterimRecord | None]:
    """Write the start potential, if any; say what the fit began from and what it resumes from."""
    if parent is None:
        start = Start(kind="zeros", reason="there is no earlier potential")
    elif parent.record.lineage.basis_hash != basis_hash:
        start = Start(kind="zeros", reason=f"the basis is not that of generation {parent.generation} any more")
    else:
        start = Start(kind="previous", reason="it has the same basis", generation=parent.generation)
    interim = resumable(run, identity)
    if interim is not None:
        # Only a damaged file raises here; the fit then begins where it first did.
        with contextlib.suppress(EngineError):
            prepare_start(run.interim_potential, run.start_potential)
            return start.model_copy(update={"resumed_after": interim.iterations}), interim
    discard_interim(run)
    if parent is not None and start.kind == "previous":
        prepare_start(parent.yaml, run.start_potential)
    return start, None


def _epochs_to_do(config: CampaignConfig, interim: InterimRecord | None) -> int:
    """Epochs per ladder step; a resumed ladder gets all of them for the step that was interrupted."""
    if interim is None or config.basis.ladder_step is not None:
        return config.fit.max_epochs
    return max(config.fit.max_epochs - interim.iterations, 1)


def _write_data(campaign: Campaign, run: GenerationDirectory) -> None:
    campaign.store.export(campaign.accumulated, "train")
    _link_or_copy(campaign.accumulated, run.train_data)
    if campaign.store.count("test"):
        campaign.store.export(run.test_data, "test")


def _write_input(
    config: CampaignConfig,
    manifest: Manifest,
    run: GenerationDirectory,
    start: Start,
    interim: InterimRecord | None,
    epochs: int,
) -> None:
    native = render_input(
        config,
        manifest.reference_energies,
        run.train_data,
        run.test_data if run.test_data.exists() else None,
        None if start.kind == "zeros" and interim is None else run.start_potential,
        epochs,
        climb_from_start=interim is not None and not interim.complete,
    )
    write_input(run.input_yaml, native)


def finished_fit(run: GenerationDirectory, identity: str) -> FitRecord | None:
    """The record of this very fit if it has ended well before."""
    if not all(f.exists() for f in (run.fit_record, run.fitted_potential, run.train_predictions)):
        return None
    try:
        record = FitRecord.model_validate_json(run.fit_record.read_bytes())
    except ValidationError:  # of another version of this program: the fit is done again
        return None
    return record if record.identity == identity else None


def finish_fit(plan: FitPlan, return_code: int, seconds: float) -> FitRecord:
    """Judge what the engine left and record it; see `collect_outcome` for the errors raised."""
    run = plan.run
    run.fit_record.unlink(missing_ok=True)
    try:
        left_out = collect_outcome(run, return_code, may_leave_out=plan.config.fit.weighting.kind != "uniform")
    except TrainingFailedError:
        # Resuming from the same place would fail in the same way; the next attempt starts afresh.
        discard_interim(run)
        raise
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        left_out=left_out,
        seconds=seconds,
        return_code=return_code,
        engine=engine_versions(run.fitted_potential),
    )
    write_atomically(run.fit_record, record.model_dump_json(indent=2) + "\n")
    discard_interim(run)
    return record


def evaluate_fit(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Export the fitted potential and compare the exported file with DFT and with the trainer.

    The potential that was current before is compared on the same test structures, as far as it knows
    their elements: the test set grows, so its own published errors are not comparable.

    Raises
    ------
    InconsistentPotentialError
        When the exported file does not predict what the trainer predicted.
    """
    campaign, run = Campaign(plan.campaign), plan.run
    export_yace(run.fitted_potential, run.exported_potential)
    exported: dict[str, tuple[float, int]] = {}

    def note(structure: Structure, energy: float) -> None:
        exported[structure.structure_id] = (energy, len(structure.numbers))
        on_progress(len(exported))

    def errors_on(split: Split) -> SplitErrors | None:
        store = campaign.store
        structures = (stored.structure for stored in store.iterate(split))
        return evaluate(run.exported_potential, structures, store.manifest.reference_energies, note)

    train = errors_on("train")
    if train is None:
        raise TrainingFailedError(f"generation {plan.generation} has no training structures to evaluate")
    disagreement = trainer_disagreement(run.train_predictions, exported)
    test = errors_on("test")
    return Evaluation(
        train=train, test=test, trainer_disagreement=disagreement, before=_errors_of_current(campaign)
    )


def _errors_of_current(campaign: Campaign) -> SplitErrors | None:
    """Errors of the potential that is current, on the test structures whose elements it knows."""
    current = Potential.current(campaign)
    if current is None:
        return None
    energies = current.record.reference_energies
    known = (
        stored.structure
        for stored in campaign.store.iterate("test")
        if set(stored.structure.symbols) <= set(energies)
    )
    return evaluate(current.yace, known, energies)


def history_of(run: GenerationDirectory, resumed_after: int = 0) -> TrainingHistory:
    """The course of a fit's last attempt, from the files the engine wrote."""
    metrics, test = read_metrics(run.metrics), read_metrics(run.test_metrics)
    tested = [
        (resumed_after + row, float(loss))
        for row, loss in zip(place_on(metrics, test), test["loss"], strict=True)
        if row is not None and math.isfinite(loss)
    ]
    return TrainingHistory(
        iteration=tuple(resumed_after + row for row in range(len(metrics))),
        loss=tuple(metrics["loss"].astype(float)),
        energy_rmse=tuple(1e3 * metrics["rmse_epa"].astype(float)),
        force_rmse=tuple(1e3 * metrics["rmse_f_comp"].astype(float)),
        test_iteration=tuple(iteration for iteration, _ in tested),
        test_loss=tuple(loss for _, loss in tested),
    )


def record_of(plan: FitPlan, fit: FitRecord, evaluation: Evaluation) -> PotentialRecord:
    """Everything a bundle says about itself; its files and date are filled in when it is published."""
    continued = fit.start.kind == "previous"
    return PotentialRecord(
        generation=plan.generation,
        created=datetime.now(UTC),
        elements=plan.config.elements,
        cutoff=plan.config.basis.cutoff,
        reference_energies=Campaign(plan.campaign).store.manifest.reference_energies,
        files={},
        lineage=Lineage(
            start=fit.start,
            parent_sha256=plan.parent_sha256 if continued else None,
            dataset_hash=plan.dataset_hash,
            config_hash=_hash(plan.config.model_dump(mode="json")),
            basis_hash=plan.basis_hash,
            n_train=plan.n_train,
            n_test=plan.n_test,
            engine=fit.engine,
        ),
        history=history_of(plan.run, fit.start.resumed_after),
        errors=evaluation,
        seconds={"engine": fit.seconds},
    )


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    """Give the run its own name for the data; it stays when the accumulated file is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
