"""A committee, beside the fit of a generation."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from mlip_train.calibration import CommitteeRecord
from mlip_train.committee import form_committee, prepare_member, solve_members
from mlip_train.deployment import Deployment
from mlip_train.planning import FitPlan
from tasks.cluster import where_the_flow_runs
from tasks.progress import every

__all__ = ["form", "prepare", "solve"]


@task(name="prepare-member", task_run_name="prepare-member")
def prepare(member: FitPlan) -> FitPlan:
    """Draw a member's sample, and write what its fit begins from and its input files."""
    with where_the_flow_runs():
        plan = prepare_member(member)
    get_run_logger().info("%s: another sample of %d structures", plan.name.capitalize(), plan.n_train)
    return plan


@task(name="solve-members", task_run_name="solve-members")
def solve(plan: FitPlan) -> tuple[FitPlan, ...]:
    """Solve for the members of a generation whose potential is a linear solution."""
    logger = get_run_logger()
    report = every(100, lambda done: logger.info("Committee: %d of %d structures", done, plan.n_train))
    with where_the_flow_runs():
        members = solve_members(plan, report)
    logger.info("Solved for %d members of generation %d", len(members), plan.generation)
    return members


@task(name="form-committee", task_run_name="form-committee")
def form(plan: FitPlan, deployment: Deployment, members: tuple[FitPlan, ...]) -> CommitteeRecord:
    """Deploy the members, and calibrate their spread by the errors on the test set."""
    committee = form_committee(plan, deployment.reference, members)
    get_run_logger().info("Committee of generation %d: %s", plan.generation, committee)
    return committee
