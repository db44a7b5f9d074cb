"""Plans for tests that need one."""

from __future__ import annotations

from mlip_train.campaign import Campaign
from mlip_train.planning import FitPlan, plan_fit, write_fit
from mlip_train.selection import select_structures

__all__ = ["planned"]


def planned(campaign: Campaign, generation: int) -> FitPlan:
    """Go through all steps before the engine."""
    plan = plan_fit(campaign, generation, select_structures(campaign, generation))
    write_fit(plan)
    return plan
