"""What a generation's fit begins from: nothing, the linear solution, or the current potential."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mlip_train.config import CampaignConfig
from mlip_train.evaluation import Errors, evaluate
from mlip_train.generation_directory import GenerationDirectory
from mlip_train.pacemaker.bbasis import export_yace
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.pacemaker.linear_start import LinearSolution, solve_linear_start
from mlip_train.pacemaker.warm_start import differences, grow, prepare_start, seed_densities, write_target
from mlip_train.pacemaker.weights import labelled
from mlip_train.potential import Potential, Start
from mlip_train.structures import Structure

__all__ = ["errors_of_start", "lay_basis", "solve_start"]

_SECOND_DENSITY = 0.1  # share of the first that a new second density begins with

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
    if config.start.next == "linear":
        return Start(kind="linear", reason="start.next is linear", generation=generation)
    if n_lost:
        reason = f"{n_lost} functions of generation {generation} are not in the basis any more"
        return Start(kind="linear", reason=reason, generation=generation)
    if config.fit.max_epochs == 0:
        return Start(kind="linear", reason="fit.max_epochs is 0", generation=generation)
    reason = "its basis is part of the new one" if n_new else "it has the same basis"
    return Start(kind="previous", reason=reason, generation=generation, grown_by=n_new)


def solve_start(
    config: CampaignConfig,
    run: GenerationDirectory,
    start: Start,
    structures: Structures,
    reference_energies: Mapping[str, float],
    on_progress: Callable[[int], None] = lambda done: None,
) -> LinearSolution | None:
    """Write the potential that the fit begins from; see `solve_linear_start` for the errors raised."""
    if start.kind == "zeros":
        run.start_potential.unlink(missing_ok=True)
        return None
    if start.kind == "previous":
        prepare_start(run.basis, run.start_potential)
        return None
    rows = labelled(structures, reference_energies, config.fit.weighting, config.fit.seed)
    solution = solve_linear_start(run.basis, rows, config.loss_weights.kappa, run.start_potential, on_progress)
    if config.fit.max_epochs:
        seed_densities(run.start_potential, _SECOND_DENSITY)
    return solution


def errors_of_start(
    config: CampaignConfig,
    run: GenerationDirectory,
    structures: Structures,
    reference_energies: Mapping[str, float],
) -> Errors | None:
    """Errors of the start potential on the structures of the fit; None from zeros.

    A fit that really continues reports the same at its first evaluation.
    """
    if not run.start_potential.exists():
        return None
    rows = labelled(structures, reference_energies, config.fit.weighting, config.fit.seed)
    with tempfile.TemporaryDirectory(dir=run.root, prefix=".start-") as folder:
        yace = Path(folder) / "start.yace"
        export_yace(run.start_potential, yace)
        found = evaluate(yace, (row.structure for row in rows), reference_energies)
    return found.overall if found else None
