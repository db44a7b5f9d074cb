"""From a selection to a fit that is ready to run: what determines it, its start potential, its input files."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mlip_train.ace.curvature import MOST_COEFFICIENTS
from mlip_train.base.files import hash_of
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, Groundwork, earlier_plan, finished_fit
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import TrainingFailedError
from mlip_train.fit.selection import (
    chosen_structures,
    has_weights,
    labelled_structures,
    labelled_test_structures,
    learned_structures,
)
from mlip_train.fit.starting import errors_of_start, make_start, resume_start
from mlip_train.pacemaker.input_yaml import basis_section, render_input, with_curvature, write_input
from mlip_train.pacemaker.interim import InterimRecord, discard_interim, resumable
from mlip_train.pacemaker.pickles import write_data, write_weighted_data
from mlip_train.records.manifest import Manifest
from mlip_train.records.selection import Selection

__all__ = ["plan_fit", "prepare_fit", "write_fit"]

_UNINFORMED: Final = (
    "The optimiser begins without the curvature of the linear start, which takes BFGS on all coefficients and at "
    f"most {MOST_COEFFICIENTS} of them; expect more iterations"
)
_STRESS_ENDS: Final = (
    "The linear start was solved for energies, forces and stress; the engine, which goes on from it, cannot train "
    "on stress. With fit.max_epochs: 0 the solution itself is the potential"
)
_WIDENED: Final = 2.0  # times; a baseline that suits the data makes forces smaller


def plan_fit(
    ground: Groundwork, selection: Selection, on_progress: Callable[[int], None] = lambda done: None
) -> FitPlan:
    """Decide what a fit is and prepare the potential that it begins from.

    The fit resumes an interrupted one if nothing that determines its result has changed. A start that
    was prepared before, or a fit that has ended well before, is not prepared again.

    Raises
    ------
    TrainingFailedError
        When there is no linear solution to begin from.
    """
    store, config = Campaign(ground.campaign).store, ground.config
    plan = FitPlan(
        **{name: getattr(ground, name) for name in Groundwork.model_fields},
        identity=_identity(ground, store.manifest, selection),
        epochs=config.fit.max_epochs,
        dataset_hash=store.manifest.dataset_hash,
        basis_hash=hash_of(basis_section(config)),
        n_train=selection.structures.chosen,
        n_test=store.count("test"),
    )
    return prepare_fit(plan, on_progress)


def prepare_fit(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> FitPlan:
    """Prepare the potential that a fit begins from, and write its plan; see `plan_fit`."""
    if finished_fit(plan.run, plan.identity) is None:
        plan = _begin(plan, on_progress)
    elif (earlier := earlier_plan(plan.run, plan.identity)) is not None:
        plan = _as_begun(plan, earlier)
    plan.save(plan.run.plan)
    return plan


def _identity(ground: Groundwork, manifest: Manifest, selection: Selection) -> str:
    """Hash of what determines a fit's result; not of paths, or of what only changes its speed."""
    config, parent, baseline = ground.config, ground.parent, ground.baseline
    native = render_input(config, manifest.reference_energies, Path(), None, None, config.fit.max_epochs)
    content = native | {
        "backend": {key: value for key, value in native["backend"].items() if key == "evaluator"},
        "data": {key: value for key, value in native["data"].items() if key != "filename"},
        "start": config.start.model_dump(),
        "shares": config.loss_weights.model_dump(),
        "weights": config.weights.config_type,
        "baseline": baseline.model_dump() if baseline else None,
    }
    return hash_of([content, manifest.dataset_hash, selection.identity, parent.sha256 if parent else None])


def _begin(plan: FitPlan, on_progress: Callable[[int], None]) -> FitPlan:
    """Write the start potential: an interim one of this fit, the one that was prepared before, or a new one."""
    run = plan.run
    earlier, interim = earlier_plan(run, plan.identity), resumable(run, plan.identity)
    if interim is not None and resume_start(run):
        start = (earlier or plan).start.model_copy(update={"resumed_after": interim.iterations})
        update = {
            "start": start,
            "solution": earlier.solution if earlier else None,
            "start_errors": errors_of_start(plan),
            "epochs": _epochs_to_do(plan.config, interim),
        }
        return plan.model_copy(update=update)
    discard_interim(run)
    if earlier is not None and not earlier.start.resumed_after and run.start_potential.exists():
        return _as_begun(plan, earlier)
    run.plan.unlink(missing_ok=True)  # what it says of the start potential is not true from here on
    return make_start(plan, on_progress)


def _as_begun(plan: FitPlan, earlier: FitPlan) -> FitPlan:
    """The plan with the start that an earlier attempt prepared; all else may have changed since."""
    kept = ("start", "solution", "start_errors")
    return plan.model_copy(update={name: getattr(earlier, name) for name in kept})


def _epochs_to_do(config: CampaignConfig, interim: InterimRecord) -> int:
    """Epochs per ladder step; a resumed ladder gets all of them for the step that was interrupted."""
    if config.basis.ladder_step is not None and not interim.complete:
        return config.fit.max_epochs
    return max(config.fit.max_epochs - interim.iterations, 1)


def write_fit(plan: FitPlan) -> tuple[str, ...]:
    """Write the data and the input.yaml of a planned fit; return what a person should know of them."""
    _write_data(plan)
    notes = _notes_on_labels(plan)
    if plan.is_linear or finished_fit(plan.run, plan.identity) is not None:
        return notes
    if plan.solution is not None and plan.solution.stress_share:
        notes += (_STRESS_ENDS,)
    return notes + _write_input(plan)


def _write_data(plan: FitPlan) -> None:
    campaign, run = Campaign(plan.campaign), plan.run
    store, baseline = campaign.store, plan.baseline
    energies = store.manifest.reference_energies
    if not plan.member:
        write_data(campaign.accumulated, (row.structure for row in store.iterate("train")), energies)
    if has_weights(plan):
        if not write_weighted_data(run.train_data, labelled_structures(plan), energies) and not plan.is_linear:
            raise TrainingFailedError(
                "the weights of all atoms are 0, and the engine cannot train without forces; set "
                "weights.atom: null or fit.max_epochs: 0"
            )
        if not write_weighted_data(run.test_data, labelled_test_structures(plan), energies):
            run.test_data.unlink()  # the engine would stop at it
        return
    if plan.n_train == store.count("train") and baseline is None and not plan.member:
        _link_or_copy(campaign.accumulated, run.train_data)
    else:
        write_data(run.train_data, learned_structures(plan)(), energies)
    run.test_data.unlink(missing_ok=True)  # of an earlier attempt
    if plan.n_test:
        unseen = (row.structure for row in store.iterate("test"))
        write_data(run.test_data, map(baseline.subtracted, unseen) if baseline else unseen, energies)


def _write_input(plan: FitPlan) -> tuple[str, ...]:
    run, interim = plan.run, resumable(plan.run, plan.identity)
    native = render_input(
        plan.config,
        Campaign(plan.campaign).store.manifest.reference_energies,
        run.train_data,
        run.test_data if run.test_data.exists() else None,
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


def _notes_on_labels(plan: FitPlan) -> tuple[str, ...]:
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


def _link_or_copy(source: Path, target: Path) -> None:
    """Give the run its own name for the data; it stays when the accumulated file is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
