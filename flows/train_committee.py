"""The committee of a generation, whose fits run where the generation's own does."""

from prefect.logging import get_run_logger

from flows.train_potential import begin_training
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import MlipTrainError
from mlip_train.fit.closing import ClosedPotential
from mlip_train.fit.committee import members_of
from mlip_train.records.committee import CommitteeRecord
from tasks.steps import form, prepare, solve

__all__ = ["train_committee"]


def train_committee(plan: FitPlan, closed: ClosedPotential) -> CommitteeRecord | None:
    """Fit the committee that `committee.members` asks for; what goes wrong costs members, not the generation."""
    if not plan.config.committee.members:
        return None
    try:
        members = solve(plan) if plan.is_linear else _trained(plan)
        return form(plan, closed, members)
    except MlipTrainError as error:
        get_run_logger().warning("%s has no committee: %s", plan.name.capitalize(), error)
        return None


def _trained(plan: FitPlan) -> tuple[FitPlan, ...]:
    """The members whose fits ended well; all are asked for before the first is waited for."""
    begun = []
    for member in members_of(plan):
        try:
            prepared = prepare(member)
            begun.append((prepared, begin_training(prepared)))
        except MlipTrainError as error:
            _warn_of_failure(member, error)
    trained = []
    for member, wait in begun:
        try:
            wait()
            trained.append(member)
        except MlipTrainError as error:
            _warn_of_failure(member, error)
    return tuple(trained)


def _warn_of_failure(member: FitPlan, error: MlipTrainError) -> None:
    get_run_logger().warning(
        "%s was not fitted; the committee does without it: %s", member.name.capitalize(), error
    )
