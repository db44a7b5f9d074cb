"""The active set of a fitted potential, by which evaluators grade how far they extrapolate."""

from __future__ import annotations

from collections.abc import Callable

from mlip_train.campaign import Campaign
from mlip_train.pacemaker.active_set import ActiveSet
from mlip_train.pacemaker.projections import Projector
from mlip_train.pacemaker.spanning import projection_fingerprint, span
from mlip_train.selection import chosen_ids, chosen_structures

__all__ = ["grade_potential"]


def grade_potential(
    campaign: Campaign, generation: int, tolerance: float, on_progress: Callable[[int], None] = lambda done: None
) -> dict[str, float]:
    """Compute the active set of a fitted potential and write its .asi.

    It is that of the structures the fit learned from, all their atoms, in the fitted radial functions. Where
    the fit has not changed those, it goes on from the active set of the selection.

    Parameters
    ----------
    campaign, generation : Campaign, int
        Whose fitted potential.
    tolerance : float
        Extrapolation grade above which an atom enlarges the active set.

    Returns
    -------
    dict of element to float
        The largest extrapolation grade among those structures.
    """
    run = campaign.generation(generation)
    ids, fingerprint = chosen_ids(run), projection_fingerprint(run.fitted_potential)
    selected = ActiveSet.load(run.active_set, fingerprint) if run.active_set.exists() else None
    if selected is not None and set(selected.active_atoms()) <= ids:
        active = selected
    else:
        active = ActiveSet(Projector(run.fitted_potential).n_functions, tolerance)
        active.covers = generation if len(ids) == campaign.store.count("train") else 0
    grades = span(active, run.fitted_potential, chosen_structures(campaign, run), on_progress).left
    if selected is None:  # else the next selection goes on with that of all structures
        active.save(run.active_set, fingerprint)
    active.write_asi(run.inverse_active_set)
    return grades
