"""The steps of a generation once its data are stored, in their order: thin tasks around library calls."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
from prefect import task
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from mlip_train.ace.kernel import is_compiled
from mlip_train.assess import gate
from mlip_train.assess.checking import check_fit
from mlip_train.assess.measuring import evaluate_fit
from mlip_train.assess.subject import Subject
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, Groundwork
from mlip_train.errors import MlipTrainError
from mlip_train.fit import starting
from mlip_train.fit.closing import ClosedPotential, close_fit
from mlip_train.fit.committee import form_committee, prepare_member, solve_members
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.planning import plan_fit, write_fit
from mlip_train.fit.record import record_of
from mlip_train.fit.selection import select_structures
from mlip_train.potential.potential import Potential
from mlip_train.potential.potential import publish as publish_bundle
from mlip_train.records.checks import Check
from mlip_train.records.committee import CommitteeRecord
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.fit import FitRecord
from mlip_train.records.selection import Selection
from mlip_train.records.verdict import Verdict
from mlip_train.report import write_index, write_report
from mlip_train.report.artifact_pages import checks_page, error_rows, loss_page, potential_page, selection_rows
from mlip_train.report.figures import draw_loss_curve, draw_panels
from tasks.artifacts import leave_page, leave_table

__all__ = [
    "check",
    "close",
    "evaluate",
    "form",
    "grade",
    "judge",
    "lay_basis",
    "prepare",
    "publish",
    "render",
    "report",
    "select",
    "solve",
    "start",
]


@task(name="lay-basis", task_run_name="lay-basis")
def lay_basis(campaign: Path, generation: int) -> Groundwork:
    """Find the parent, and lay the basis that is to be fitted."""
    ground = starting.lay_basis(Campaign(campaign), generation)
    get_run_logger().info("Generation %d %s", generation, ground.start)
    if not is_compiled():
        get_run_logger().info("The first projections will be compiled for this machine, once (some 10 s)")
    return ground


@task(name="select", task_run_name="select")
def select(ground: Groundwork) -> Selection:
    """Choose the training structures of a generation, by maxvol if the campaign asks for it."""
    with where_the_flow_runs():
        selection = select_structures(ground, _logged_every(500, "Projected %d structures"))
    get_run_logger().info("Learning from %s (%.1f s)", selection, selection.seconds)
    title = f"Generation {ground.generation} learns from {selection}"
    leave_table(ground.campaign, "selection", selection_rows(selection), title)
    return selection


@task(name="start", task_run_name="start")
def start(ground: Groundwork, selection: Selection) -> FitPlan:
    """Plan the fit, and make the potential that it begins from."""
    report = _logged_every(100, f"Linear solution: %d of {selection.structures.chosen} structures")
    with where_the_flow_runs():
        plan = plan_fit(ground, selection, report)
    if plan.start.resumed_after:
        get_run_logger().info("Generation %d %s", plan.generation, plan.start)
    if plan.solution is not None:
        get_run_logger().info("%s", plan.solution)
    return plan


@task(name="render", task_run_name="render")
def render(plan: FitPlan) -> None:
    """Write input.yaml and the data of a fit."""
    logger, notes = get_run_logger(), write_fit(plan)
    logger.info(
        "Generation %d: %d training and %d test structures, up to %d iterations. Run directory: %s",
        plan.generation, plan.n_train, plan.n_test, plan.most_iterations, plan.run.root,
    )  # fmt: skip
    for note in notes:
        logger.warning("%s", note)


@task(name="close", task_run_name="close")
def close(plan: FitPlan) -> ClosedPotential:
    """Close the potential at short distance, export it, and compute what approaching atoms feel."""
    logger, closed = get_run_logger(), close_fit(plan)
    logger.info("Reference potential: %s", closed.reference)
    for note in closed.notes:
        logger.warning("%s", note)
    return closed


@task(name="grade", task_run_name="grade")
def grade(plan: FitPlan) -> None:
    """Compute the active set of the fitted potential, by which it grades extrapolation."""
    with where_the_flow_runs():
        grades = grade_potential(plan, _logged_every(500, "Graded %d structures"))
    largest = ", ".join(f"{grade:.2f} {element}" for element, grade in grades.items())
    get_run_logger().info("Largest extrapolation grade among the training structures: %s", largest)


@task(name="evaluate", task_run_name="evaluate")
def evaluate(plan: FitPlan) -> Evaluation:
    """Compare the exported potential, and its parent, with DFT on the test and training sets."""
    logger, total = get_run_logger(), plan.n_train + plan.n_test
    with where_the_flow_runs():
        evaluation = evaluate_fit(plan, _logged_every(500, f"Evaluated %d of {total} structures"))
    logger.info("Errors of generation %d: %s", plan.generation, evaluation)
    if evaluation.new is not None:
        logger.info("Before it, generation %s on what is new: %s", evaluation.parent, evaluation.new.overall)
    beside = " and, for the test structures, against the parent" if evaluation.before else ""
    errors = (evaluation.test or evaluation.train).overall
    title = (
        f"Generation {plan.generation}: {errors}. Computed with the .yace file against DFT{beside}: "
        "E in meV/atom, F in meV/Å, stress in GPa"
    )
    leave_table(plan.campaign, "errors", error_rows(evaluation), title)
    return evaluation


@task(name="check", task_run_name="check")
def check(plan: FitPlan, closed: ClosedPotential) -> tuple[Check, ...]:
    """Check the files, and what they make of dimers, crystals and MD; each check leaves its picture."""
    logger, checks = get_run_logger(), []
    for found in check_fit(Subject(plan, closed)):
        level = logging.WARNING if found.passed is False else logging.INFO
        logger.log(level, "Check %s: %s. %s", found.name, found.word, "; ".join([found.finding, *found.notes]))
        if found.panels:
            title = f"{plan.campaign.name}, generation {plan.generation}: {found.name}"
            draw_panels(found.panels, title, plan.run.check_picture(found.name))
        checks.append(found)
    title = f"Generation {plan.generation}: {', '.join(found.name for found in checks)}"
    leave_page(plan.campaign, "checks", checks_page(plan, checks), title)
    return tuple(checks)


@task(name="judge", task_run_name="judge")
def judge(plan: FitPlan, evaluation: Evaluation, checks: tuple[Check, ...]) -> Verdict:
    """Decide at the gate whether the potential may become the current one."""
    logger, verdict = get_run_logger(), gate.judge(plan.config.gate, evaluation, checks)
    if verdict.accepted:
        logger.info("Gate: accepted")
    else:
        logger.warning("Gate: rejected; this run ends with the reason")
    for note in verdict.notes:
        logger.warning("The gate noted: %s", note)
    return verdict


@task(name="prepare-member", task_run_name="prepare-member")
def prepare(member: FitPlan) -> FitPlan:
    """Draw a committee member's sample, and write what its fit begins from and its input files."""
    with where_the_flow_runs():
        plan = prepare_member(member)
    get_run_logger().info("%s: another sample of %d structures", plan.name.capitalize(), plan.n_train)
    return plan


@task(name="solve-members", task_run_name="solve-members")
def solve(plan: FitPlan) -> tuple[FitPlan, ...]:
    """Solve for the committee of a generation whose potential is a linear solution."""
    with where_the_flow_runs():
        members = solve_members(plan, _logged_every(100, f"Committee: %d of {plan.n_train} structures"))
    get_run_logger().info("Solved for %d members of generation %d", len(members), plan.generation)
    return members


@task(name="form-committee", task_run_name="form-committee")
def form(plan: FitPlan, closed: ClosedPotential, members: tuple[FitPlan, ...]) -> CommitteeRecord:
    """Export the members, and calibrate their spread by the errors on the test set."""
    committee = form_committee(plan, closed.reference, members)
    get_run_logger().info("Committee of generation %d: %s", plan.generation, committee)
    return committee


@task(name="publish", task_run_name="publish")
def publish(
    plan: FitPlan,
    fit: FitRecord,
    closed: ClosedPotential,
    evaluation: Evaluation,
    checks: tuple[Check, ...],
    verdict: Verdict,
    committee: CommitteeRecord | None,
) -> Potential:
    """Publish the bundle; accepted by the gate, it becomes the campaign's current potential."""
    logger, campaign = get_run_logger(), Campaign(plan.campaign)
    record = record_of(plan, fit, closed, evaluation, checks, verdict, committee)
    potential = publish_bundle(campaign, plan.run, record)
    if verdict.accepted:
        logger.info("Published %s. %s", potential.yace, potential.use)
    else:
        logger.warning("Kept as rejected: %s", potential.yace)
    draw_loss_curve(record.history, f"{campaign.name}, generation {plan.generation}", plan.run.loss_curve)
    title = f"Generation {plan.generation}: loss and force error over the iterations"
    leave_page(plan.campaign, "loss-curve", loss_page(plan), title)
    title = f"Generation {plan.generation}: {potential.yace}"
    leave_page(plan.campaign, "potential", potential_page(plan, potential), title)
    return potential


@task(name="report", task_run_name="report")
def report(campaign: Path, potential: Potential) -> None:
    """Write the generation's report.html and the campaign's index.html."""
    logger, here = get_run_logger(), Campaign(campaign)
    try:
        written = write_report(here, potential.generation)
        write_index(here)
    except (MlipTrainError, OSError) as error:  # the potential is published by now
        logger.warning("The report could not be written (%s); the run goes on", error)
    else:
        logger.info("Report: %s", written)


def _logged_every(step: int, message: str) -> Callable[[int], None]:
    """Return a function that logs a growing count whenever another `step` is reached."""
    logger, reached = get_run_logger(), 0

    def log(done: int) -> None:
        nonlocal reached
        if done // step > reached:
            reached = done // step
            logger.info(message, done)

    return log


@contextmanager
def where_the_flow_runs() -> Iterator[None]:
    """Share the work on structures out over the Dask cluster of the flow's task runner, if it has one.

    The workers must see the campaign directory under the same path.
    """
    context = FlowRunContext.get()
    client = getattr(context.task_runner, "client", None) if context else None
    if client is None:
        yield
        return
    get_run_logger().info("Computing on the Dask cluster at %s", client.scheduler.address)
    with client.as_current(), joblib.parallel_config(backend="dask", wait_for_workers_timeout=60):
        yield
