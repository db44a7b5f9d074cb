"""What a generation's fit begins from: nothing, the linear solution, or the current potential."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlip_train.ace.bbasis import export_yace
from mlip_train.ace.linear_solution import solve_linear_start
from mlip_train.ace.normal_equations import Shares
from mlip_train.ace.samples import solve_samples
from mlip_train.ace.warm_start import (
    differences,
    grow,
    has_idle_density,
    prepare_start,
    seed_second_density,
    write_target,
)
from mlip_train.base.files import copy_atomically
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, Groundwork, Parent
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.reference import baseline_of
from mlip_train.errors import EngineError, TrainingFailedError
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residuals import evaluate
from mlip_train.evaluation.summary import summarise
from mlip_train.fit.selection import labelled_structures
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.potential.potential import Potential
from mlip_train.records.errors import Errors
from mlip_train.records.fit import LinearSolution
from mlip_train.records.potential import Start

__all__ = ["errors_of_start", "lay_basis", "make_start", "resume_start", "solve_starts", "take_over_basis"]


def lay_basis(campaign: Campaign, generation: int) -> Groundwork:
    """Find the parent of a generation, write the B-basis that is to be fitted, and say what the fit begins from.

    A parent whose functions are all in the configured basis is continued, with new functions at zero.
    Where cutoff, radial basis or embedding have changed, its coefficients mean nothing any more.
    """
    config, run, current = campaign.config, campaign.generation(generation), Potential.current(campaign)
    parent = None
    if current is not None:
        sha256 = current.record.files[current.yaml.name]
        parent = Parent(generation=current.generation, record=current.path, sha256=sha256)
    start = _lay(config, run, current)
    return Groundwork(
        campaign=campaign.root, config=config, generation=generation, run=run, parent=parent, start=start
    )


def _lay(config: CampaignConfig, run: GenerationDirectory, parent: Potential | None) -> Start:
    run.root.mkdir(parents=True, exist_ok=True)
    write_target(basis_section(config), run.basis)
    if parent is None:
        return Start(kind=config.start.first, reason="there is no earlier potential")
    if config.start.next == "zeros":
        return Start(kind="zeros", reason="start.next is zeros")
    if changed := differences(parent.yaml, run.basis):
        what = f"the {' and the '.join(changed)} changed since generation {parent.generation}"
        return Start(kind="linear", reason=what)
    n_new, n_lost = grow(parent.yaml, run.basis, run.basis)
    generation = parent.generation
    # of elements that are new, the parent has learned nothing
    if baseline_of(config.reference, parent.record.elements) != parent.baseline:
        reason = f"the reference potential changed since generation {generation}"
        return Start(kind="linear", reason=reason, generation=generation)
    if config.start.next == "linear":
        return Start(kind="linear", reason="start.next is linear", generation=generation)
    if n_lost:
        reason = f"{n_lost} functions of generation {generation} are not in the basis any more"
        return Start(kind="linear", reason=reason, generation=generation)
    if config.fit.max_epochs == 0:
        return Start(kind="linear", reason="fit.max_epochs is 0", generation=generation)
    if has_idle_density(run.basis):
        reason = f"the second density of generation {generation} was never trained"
        return Start(kind="linear", reason=reason, generation=generation)
    reason = "its basis is part of the new one" if n_new else "it has the same basis"
    return Start(kind="previous", reason=reason, generation=generation, grown_by=n_new)


def take_over_basis(source: GenerationDirectory, run: GenerationDirectory) -> None:
    """Fit the same basis in another run, as the members of a committee do."""
    copy_atomically(source.basis, run.basis)


def make_start(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> FitPlan:
    """Write the potential that a fit begins from; return the plan with what was found on the way.

    See `solve_linear_start` for the errors raised.
    """
    run, goes_on = plan.run, not plan.is_linear
    if plan.start.kind == "zeros":
        run.start_potential.unlink(missing_ok=True)
        return plan.model_copy(update={"solution": None, "start_errors": None})
    solution = None
    if plan.start.kind == "previous":
        prepare_start(run.basis, run.start_potential)
    else:
        solution = _solve(plan, run.basis, on_progress)
        if goes_on and has_idle_density(run.start_potential):
            seed_second_density(run.start_potential)
            solution = _solve(plan, run.start_potential, on_progress)
    errors = errors_of_start(plan) if goes_on else None  # else it is the potential, and evaluated as such
    return plan.model_copy(update={"solution": solution, "start_errors": errors})


def resume_start(run: GenerationDirectory) -> bool:
    """Begin from the interim potential; only a damaged file keeps a fit from it."""
    try:
        prepare_start(run.interim_potential, run.start_potential)
    except EngineError:
        return False
    return True


def _solve(plan: FitPlan, bbasis: Path, on_progress: Callable[[int], None]) -> LinearSolution:
    curvature = None if plan.is_linear else plan.run.start_curvature
    weights = plan.config.loss_weights
    return solve_linear_start(
        bbasis,
        labelled_structures(plan),
        weights.kappa,
        plan.run.start_potential,
        weights.stress_share,
        curvature,
        on_progress,
    )


def solve_starts(
    plan: FitPlan,
    runs: Sequence[GenerationDirectory],
    times: Mapping[str, NDArray[np.int64]],
    solution: LinearSolution,
    on_progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Solve for the start potentials of several runs at once, each on a sample; see `solve_samples`.

    They have the ridge and the share of stress that the solution on all structures has from its cross-validation.
    """
    targets, kappa = [run.start_potential for run in runs], plan.config.loss_weights.kappa
    shares = Shares(1 - kappa, kappa, solution.stress_share)
    structures = labelled_structures(plan)
    solve_samples(plan.run.basis, structures, times, shares, solution.ridge, targets, on_progress)


def errors_of_start(plan: FitPlan) -> Errors:
    """Errors of the start potential on the structures of the fit, whose labels hold no baseline.

    A fit that really continues reports the same at its first evaluation.
    """
    structures = (row.structure for row in labelled_structures(plan))
    energies = Campaign(plan.campaign).store.manifest.reference_energies
    with tempfile.TemporaryDirectory() as folder:
        yace = Path(folder) / "start.yace"
        export_yace(plan.run.start_potential, yace)
        found = summarise(evaluate(Exported.of(yace, None), structures, energies)).errors
    if found is None:
        raise TrainingFailedError("fit.weighting leaves out every structure; set kind: uniform")
    return found.overall
