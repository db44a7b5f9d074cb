"""One generation of a campaign: what is to be fitted, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlip_train.campaign import Campaign, GenerationDirectory
from mlip_train.config import CampaignConfig
from mlip_train.errors import TrainingFailedError
from mlip_train.evaluation import Evaluation, SplitErrors, evaluate, trainer_disagreement
from mlip_train.files import write_atomically
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import export_yace, prepare_start
from mlip_train.pacemaker.input_yaml import basis_section, render_input, write_input
from mlip_train.pacemaker.interim import discard_interim, resumable
from mlip_train.pacemaker.metrics import read_metrics
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
    epochs: int  # to do now
    parent_generation: int | None
    parent_sha256: str | None
    dataset_hash: str
    config_hash: str
    basis_hash: str
    n_train: int
    n_test: int

    @property
    def run(self) -> GenerationDirectory:
        """The run's files."""
        return Campaign(self.campaign).generation(self.generation)


class FitRecord(FrozenModel):
    """A fit that ended well."""

    identity: str
    iterations: int
    left_out: int
    seconds: float  # of the engine, from start to exit
    return_code: int
    engine: dict[str, str]


def plan_fit(campaign: Campaign, generation: int) -> FitPlan:
    """Write the run directory of a generation: data, start potential, input.yaml, resolved config.

    The fit continues an interrupted one if nothing that determines its result has changed, else the
    current potential if the basis is the same, else it starts from zeros.

    Raises
    ------
    TrainingFailedError
        When there is not a single training structure.
    """
    config, store, run = campaign.config, campaign.store, campaign.generation(generation)
    run.root.mkdir(parents=True, exist_ok=True)
    n_train, n_test = store.count("train"), store.count("test")
    if n_train == 0:
        raise TrainingFailedError(f"{store.directory} holds no training structures; add more DFT results")
    parent = Potential.current(campaign)
    parent_sha256 = parent.record.files[parent.yaml.name] if parent else None
    energies = store.manifest.reference_energies
    native = render_input(config, energies, run.train_data, None, None, config.fit.max_epochs)
    identity = _hash([_without_paths(native), store.manifest.dataset_hash, parent_sha256])
    basis_hash = _hash(basis_section(config))

    store.export(campaign.accumulated, "train")
    _link_or_copy(campaign.accumulated, run.train_data)
    if n_test:
        store.export(run.test_data, "test")
    start, climb = _choose_start(run, identity, parent, basis_hash)
    epochs = max(config.fit.max_epochs - start.iterations_before, 1)
    native = render_input(
        config,
        energies,
        run.train_data,
        run.test_data if n_test else None,
        None if start.kind == "zeros" else run.start_potential,
        epochs,
        climb_from_start=climb,
    )
    write_input(run.input_yaml, native)
    write_atomically(run.config_used, config.model_dump_json(indent=2) + "\n")
    return FitPlan(
        campaign=campaign.root,
        config=config,
        generation=generation,
        identity=identity,
        start=start,
        epochs=epochs,
        parent_generation=parent.generation if parent else None,
        parent_sha256=parent_sha256,
        dataset_hash=store.manifest.dataset_hash,
        config_hash=_hash(config.model_dump(mode="json")),
        basis_hash=basis_hash,
        n_train=n_train,
        n_test=n_test,
    )


def _choose_start(
    run: GenerationDirectory, identity: str, parent: Potential | None, basis_hash: str
) -> tuple[Start, bool]:
    """Write the start potential, if any; say what it is and whether a ladder climbs on from it."""
    interim = resumable(run, identity)
    if interim is not None:
        prepare_start(run.interim_potential, run.start_potential)
        reason = f"resumes an interrupted fit after {interim.iterations} iterations"
        return Start(kind="resumed", reason=reason, iterations_before=interim.iterations), not interim.complete
    discard_interim(run)
    if parent is None:
        return Start(kind="zeros", reason="there is no earlier potential"), False
    if parent.record.lineage.basis_hash != basis_hash:
        reason = f"the basis is not that of generation {parent.generation} any more"
        return Start(kind="zeros", reason=reason), False
    prepare_start(parent.yaml, run.start_potential)
    return Start(kind="previous", reason=f"continues from generation {parent.generation}"), False


def finished_fit(plan: FitPlan) -> FitRecord | None:
    """The record of this very fit if it has ended well before."""
    run = plan.run
    if not all(f.exists() for f in (run.fit_record, run.fitted_potential, run.train_predictions)):
        return None
    record = FitRecord.model_validate_json(run.fit_record.read_bytes())
    return record if record.identity == plan.identity else None


def finish_fit(plan: FitPlan, return_code: int, seconds: float) -> FitRecord:
    """Judge what the engine left and record it; see `collect_outcome` for the errors raised."""
    run = plan.run
    run.fit_record.unlink(missing_ok=True)
    left_out = collect_outcome(run, return_code, may_leave_out=plan.config.fit.weighting.kind != "uniform")
    record = FitRecord(
        identity=plan.identity,
        iterations=len(read_metrics(run.metrics)) - 1,
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
    return Evaluation(train=train, test=errors_on("test"), trainer_disagreement=disagreement)


def history_of(run: GenerationDirectory) -> TrainingHistory:
    """The course of a fit, from the files the engine wrote."""
    metrics, test = read_metrics(run.metrics), read_metrics(run.test_metrics)
    test = test[test["iter_num"] < len(metrics)]  # the engine repeats its last test evaluation under a new number
    return TrainingHistory(
        iteration=tuple(range(len(metrics))),
        loss=tuple(metrics["loss"].astype(float)),
        energy_rmse=tuple(1e3 * metrics["rmse_epa"].astype(float)),
        force_rmse=tuple(1e3 * metrics["rmse_f_comp"].astype(float)),
        test_iteration=tuple(test["iter_num"].astype(int)),
        test_loss=tuple(test["loss"].astype(float)),
    )


def record_of(plan: FitPlan, fit: FitRecord, evaluation: Evaluation) -> PotentialRecord:
    """Everything a bundle says about itself; its files and date are filled in when it is published."""
    return PotentialRecord(
        generation=plan.generation,
        created=datetime.now(UTC),
        elements=plan.config.elements,
        cutoff=plan.config.basis.cutoff,
        reference_energies=Campaign(plan.campaign).store.manifest.reference_energies,
        files={},
        lineage=Lineage(
            parent_generation=plan.parent_generation,
            parent_sha256=plan.parent_sha256,
            start=plan.start,
            dataset_hash=plan.dataset_hash,
            config_hash=plan.config_hash,
            basis_hash=plan.basis_hash,
            n_train=plan.n_train,
            n_test=plan.n_test,
            engine=fit.engine,
        ),
        history=history_of(plan.run),
        errors=evaluation,
        seconds={"engine": fit.seconds},
    )


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_paths(native: dict[str, Any]) -> dict[str, Any]:
    return {**native, "data": {"reference_energy": native["data"]["reference_energy"]}}


def _link_or_copy(source: Path, target: Path) -> None:
    """Give the run its own name for the data; it stays when the accumulated file is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
