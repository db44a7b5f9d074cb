"""How wrong a fitted potential is: where it learned, on the fixed test set, and beside its parent."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from mlip_train.assess.paired_errors import PairedErrors
from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import StoredStructure
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import TrainingFailedError
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residual_files import keep_residuals
from mlip_train.evaluation.residuals import Residual, evaluate
from mlip_train.evaluation.summary import Summary, summarise
from mlip_train.fit.selection import chosen_structures
from mlip_train.potential.potential import Potential
from mlip_train.records.evaluation import Evaluation

__all__ = ["evaluate_fit"]

Progress = Callable[[int], None]


def evaluate_fit(plan: FitPlan, on_progress: Progress = lambda done: None) -> Evaluation:
    """Compare the exported file, with its baseline, with DFT and with the parent.

    The parent, which is the potential that was current before, is measured on the same test structures, as far as
    it knows their elements (the test set grows, so its own published errors are not comparable), and on what this
    generation brought. All predictions are kept beside their DFT values. The potential must have been graded.

    Raises
    ------
    InconsistentPotentialError
        When a prediction is not a finite number.
    """
    campaign, run = Campaign(plan.campaign), plan.run
    parent = Potential.parent_of(plan)
    energies, done = campaign.store.manifest.reference_energies, count(1)
    plain = Exported.of(run.exported_potential, plan.baseline)
    graded = Exported.of(run.exported_potential, plan.baseline, run.closed_potential, run.inverse_active_set)
    on_train, on_test, in_common, pairs = Summary(), Summary(), Summary(), _pairs(campaign, parent)
    # without a test set, grades and files are compared on the training set
    learned = evaluate(plain if plan.n_test else graded, chosen_structures(campaign, run)(), energies)
    for residual in keep_residuals(run.residuals_on_train, learned):
        on_train.add(residual)
        on_progress(next(done))
    for residual in keep_residuals(run.residuals_on_test, evaluate(graded, _unseen(campaign), energies)):
        on_test.add(residual)
        if parent is not None and _is_known_to(parent, residual.structure):
            in_common.add(residual)
            pairs.add_own(residual)
        on_progress(next(done))
    if on_train.errors is None:
        raise TrainingFailedError(f"generation {plan.generation} has no training structures to evaluate")
    compared = on_test if plan.n_test else on_train
    return Evaluation(
        train=on_train.errors,
        test=on_test.errors,
        grades=compared.grades,
        worst=compared.worst,
        compared=in_common.errors if in_common.n_structures < on_test.n_structures else None,
        **(_beside_parent(plan, parent, pairs) if parent else {}),
    )


def _beside_parent(plan: FitPlan, parent: Potential, pairs: PairedErrors) -> dict[str, Any]:
    """What an evaluation says of the potential that was current before."""
    campaign, run = Campaign(plan.campaign), plan.run
    before = Summary()
    for residual in keep_residuals(run.residuals_of_parent, _of_parent(parent, campaign.store.iterate("test"))):
        before.add(residual)
        pairs.add_parent(residual)
    new = _of_parent(parent, campaign.store.iterate(after=plan.generation - 1))
    return {
        "parent": parent.generation,
        "before": before.errors,
        "new": summarise(keep_residuals(run.residuals_on_new, new)).errors,
        "ratios": pairs.ratios,
    }


def _pairs(campaign: Campaign, parent: Potential | None) -> PairedErrors:
    last = parent.generation if parent else 0
    return PairedErrors(
        frozenset(row.structure_id for row in campaign.store.index("test") if row.generation <= last)
    )


def _of_parent(parent: Potential, stored: Iterable[StoredStructure]) -> Iterator[Residual]:
    """Residuals on the structures whose elements it knows."""
    known = (row.structure for row in stored if _is_known_to(parent, row.structure))
    return evaluate(Exported.of(parent.yace, parent.baseline), known, parent.record.reference_energies)


def _is_known_to(potential: Potential, structure: Structure) -> bool:
    return set(structure.symbols) <= set(potential.record.reference_energies)


def _unseen(campaign: Campaign) -> Iterator[Structure]:
    return (stored.structure for stored in campaign.store.iterate("test"))
