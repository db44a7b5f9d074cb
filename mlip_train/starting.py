"""What a generation's fit begins from: nothing, the linear solution, or the current potential."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mlip_train.config import CampaignConfig
from mlip_train.errors import TrainingFailedError
from mlip_train.evaluation import Errors, evaluate, summarise
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import export_yace
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.pacemaker.linear_start import LinearSolution, solve_linear_start
from mlip_train.pacemaker.warm_start import (
    differences,
    grow,
    has_idle_density,
    prepare_start,
    seed_second_density,
    write_target,
)
from mlip_train.pacemaker.weights import labelled
from mlip_train.potential import Potential, Start
from mlip_train.predictions import Deployed
from mlip_train.reference import baseline_of
from mlip_train.structures import Structure

__all__ = ["BegunStart", "errors_of_start", "lay_basis", "make_start"]

Structures = Callable[[], Iterable[Structure]]


def lay_basis(config: CampaignConfig, run: GenerationDirectory, parent: Potential | None) -> Start:
    """Write the B-basis that is to be fitted, with what it takes over from its parent; say what it begins from.

    A parent whose functions are all in the configured basis is continued, with new functions at zero.
    Where cutoff, radial basis or embedding have changed, its coefficients mean nothing any more.
    """
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


class BegunStart(FrozenModel):
    """A start potential that is ready: its errors on the structures of the fit, and how it was solved."""

    solution: LinearSolution | None = None
    errors: Errors | None = None


def make_start(
    config: CampaignConfig,
    run: GenerationDirectory,
    start: Start,
    structures: Structures,
    reference_energies: Mapping[str, float],
    on_progress: Callable[[int], None] = lambda done: None,
) -> BegunStart:
    """Write the potential that the fit begins from; see `solve_linear_start` for the errors raised."""
    if start.kind == "zeros":
        run.start_potential.unlink(missing_ok=True)
        return BegunStart()
    if start.kind == "previous":
        prepare_start(run.basis, run.start_potential)
        return BegunStart(errors=errors_of_start(config, run, structures, reference_energies))
    goes_on = config.fit.max_epochs > 0

    def solve(bbasis: Path) -> LinearSolution:
        rows = labelled(structures, reference_energies, config.fit.weighting, config.fit.seed)
        curvature = run.start_curvature if goes_on else None
        kappa = config.loss_weights.kappa
        return solve_linear_start(bbasis, rows, kappa, run.start_potential, curvature, on_progress)

    solution = solve(run.basis)
    if goes_on and has_idle_density(run.start_potential):
        seed_second_density(run.start_potential)
        solution = solve(run.start_potential)
    return BegunStart(solution=solution, errors=errors_of_start(config, run, structures, reference_energies))


def errors_of_start(
    config: CampaignConfig,
    run: GenerationDirectory,
    structures: Structures,
    reference_energies: Mapping[str, float],
) -> Errors:
    """Errors of the start potential on the structures of the fit, whose labels hold no baseline.

    A fit that really continues reports the same at its first evaluation.
    """
    rows = labelled(structures, reference_energies, config.fit.weighting, config.fit.seed)
    with tempfile.TemporaryDirectory() as folder:
        yace = Path(folder) / "start.yace"
        export_yace(run.start_potential, yace)
        found = summarise(
            evaluate(Deployed.of(yace, None), (row.structure for row in rows), reference_energies)
        ).errors
    if found is None:
        raise TrainingFailedError("fit.weighting leaves out every structure; set kind: uniform")
    return found.overall
