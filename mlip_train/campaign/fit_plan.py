"""What a generation is built on, and the plan of its fit: the content of plan.json and fit.json."""

import math
from pathlib import Path

from mlip_train.atoms.pair_potentials import PairPotential
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.reference import baseline_of
from mlip_train.errors import InputError
from mlip_train.records.errors import Errors
from mlip_train.records.fit import FitRecord, LinearSolution
from mlip_train.records.potential import Start

__all__ = ["FitPlan", "Groundwork", "Parent", "earlier_plan", "finished_fit", "read_plan", "recorded_fit"]


class Parent(Frozen):
    """The potential that was current when a generation began, whether or not its fit continues it."""

    generation: int
    record: Path  # its potential_gen_NN.json
    sha256: str  # of its B-basis


class Groundwork(Frozen):
    """What a generation is built on; found once, when its basis is laid."""

    campaign: Path
    config: CampaignConfig  # as it was when the run began; a later edit of campaign.yaml does not matter
    generation: int
    run: GenerationDirectory
    parent: Parent | None
    start: Start

    @property
    def baseline(self) -> PairPotential | None:
        """What is subtracted from the labels and added to the predictions."""
        return baseline_of(self.config.reference, self.config.elements)


class FitPlan(Groundwork):
    """A fit that is ready to run."""

    member: int = 0  # of the generation's committee; 0 is the generation's own fit
    identity: str  # SHA-256 of everything that determines the result
    solution: LinearSolution | None = None  # with a linear start
    start_errors: Errors | None = None  # of the start potential on the structures of the fit
    epochs: int  # to do now, per ladder step
    dataset_hash: str
    basis_hash: str
    n_train: int  # structures to learn from
    n_test: int

    @property
    def name(self) -> str:
        """What is fitted, for logs."""
        return f"generation {self.generation}" + (f", member {self.member}" if self.member else "")

    @property
    def is_linear(self) -> bool:
        """Whether the linear solution is the potential and the engine is not run."""
        return self.config.fit.max_epochs == 0

    @property
    def most_iterations(self) -> int:
        """Iterations that the fit takes in all if nothing stops it early."""
        basis = self.config.basis
        if basis.ladder_step is None or self.start.kind != "zeros":
            return self.start.resumed_after + self.epochs
        n_functions = basis.functions_per_element * len(self.config.elements)
        return self.start.resumed_after + self.epochs * math.ceil(n_functions / basis.ladder_step)


def read_plan(campaign: Campaign, generation: int, identity: str, member: int = 0) -> FitPlan:
    """The plan of a generation, or of a member of its committee, as another process wrote it.

    Raises
    ------
    InputError
        When there is none, or a newer one has taken its place.
    """
    run = campaign.generation(generation)
    plan = earlier_plan(run.member(member) if member else run, identity)
    if plan is None:
        raise InputError(
            f"{run.plan} is not the plan of the fit that was asked for; start the generation again with "
            "train-generation, which writes a new one"
        )
    return plan


def earlier_plan(run: GenerationDirectory, identity: str) -> FitPlan | None:
    """The plan of an earlier attempt at this very fit."""
    plan = FitPlan.load_if_known(run.plan)
    return plan if plan is not None and plan.identity == identity else None


def finished_fit(run: GenerationDirectory, identity: str) -> FitRecord | None:
    """The record of this very fit if it has ended well before."""
    return recorded_fit(run, identity) if run.train_predictions.exists() else None


def recorded_fit(run: GenerationDirectory, identity: str) -> FitRecord | None:
    """The record of this very fit if its potential is there, whether or not its predictions are."""
    record = FitRecord.load_if_known(run.fit_record) if run.fitted_potential.exists() else None
    return record if record is not None and record.identity == identity else None
