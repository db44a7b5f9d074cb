"""The active set of a fitted potential, by which evaluators grade how far they extrapolate."""

from collections.abc import Callable

from mlip_train.ace.active_set import ActiveSet
from mlip_train.ace.projections import Projector
from mlip_train.ace.spanning import projection_fingerprint, span
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.choice import keep_active_set
from mlip_train.fit.selection import chosen_ids, chosen_structures

__all__ = ["grade_potential"]


def grade_potential(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> dict[str, float]:
    """Compute the active set of a fitted potential and write its .asi.

    It is that of the structures the fit learned from, all their atoms, in the fitted radial functions. Where
    the fit has not changed those, it goes on from the active set of the selection.

    Returns
    -------
    dict of element to float
        The largest extrapolation grade among those structures.
    """
    campaign, run = Campaign(plan.campaign), plan.run
    ids, fingerprint = chosen_ids(run), projection_fingerprint(run.fitted_potential)
    selected = ActiveSet.load(run.active_set, fingerprint) if run.active_set.exists() else None
    if selected is not None and set(selected.active_atoms()) <= ids:
        active = selected
    else:
        tolerance = plan.config.active_set.gamma_tolerance
        active = ActiveSet(Projector(run.fitted_potential).n_functions, tolerance)
        active.covers = plan.generation if len(ids) == campaign.store.count("train") else 0
    grades = span(active, run.fitted_potential, chosen_structures(campaign, run), on_progress).left
    if selected is None:  # else the next selection goes on with that of all structures
        keep_active_set(run, active, run.fitted_potential)
    active.write_asi(run.inverse_active_set)
    return grades
