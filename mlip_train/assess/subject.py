"""What the checks look at: a fitted potential with its files and its data."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.closing import ClosedPotential
from mlip_train.fit.selection import chosen_structures
from mlip_train.potential.calculator import calculator_of

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A potential that was closed, exported and evaluated."""

    plan: FitPlan
    closed: ClosedPotential

    @cached_property
    def calculator(self) -> Any:
        """ASE calculator of the file that MD codes run."""
        return calculator_of(self.plan.run.exported_potential, self.plan.baseline)

    @cached_property
    def grading(self) -> Any:
        """ASE calculator with `results["gamma"]`."""
        run = self.plan.run
        return calculator_of(run.closed_potential, self.plan.baseline, run.inverse_active_set)

    def stored(self) -> Iterator[Structure]:
        """Stream all structures of the dataset."""
        return (row.structure for row in Campaign(self.plan.campaign).store.iterate())

    def tried_on(self) -> Iterator[Structure]:
        """Stream the structures to try it on: those of the test set; where there is none, those of the fit."""
        campaign = Campaign(self.plan.campaign)
        if self.plan.n_test:
            return (row.structure for row in campaign.store.iterate("test"))
        return chosen_structures(campaign, self.plan.run)()
