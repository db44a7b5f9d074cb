"""Plans, and potentials made without the engine, for tests that need one."""

from __future__ import annotations

from typing import Any

import yaml

from mlip_train.assess.checking import check_fit
from mlip_train.assess.gate import judge
from mlip_train.assess.measuring import evaluate_fit
from mlip_train.assess.subject import Subject
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.closing import close_fit
from mlip_train.fit.committee import form_committee, solve_members
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.planning import plan_fit, write_fit
from mlip_train.fit.record import record_of
from mlip_train.fit.selection import select_structures
from mlip_train.fit.starting import lay_basis
from mlip_train.fit.training import finish_linear
from mlip_train.potential.potential import Potential, publish
from mlip_train.records.fit import FitRecord

__all__ = ["edit", "finished", "planned", "publish_linear", "solved"]


def planned(campaign: Campaign, generation: int) -> FitPlan:
    """Go through all steps before the engine."""
    ground = lay_basis(campaign, generation)
    plan = plan_fit(ground, select_structures(ground))
    write_fit(plan)
    return plan


def solved(campaign: Campaign, generation: int) -> FitPlan:
    """Go through all steps before the potential is closed, where it is the linear solution."""
    plan = planned(campaign, generation)
    finish_linear(plan)
    return plan


def finished(plan: FitPlan) -> FitRecord:
    """Leave what a finished fit leaves; its potential is empty."""
    record = FitRecord(
        identity=plan.identity,
        start=plan.start,
        stopped="converged",
        left_out=0,
        seconds=9.0,
        return_code=0,
        engine={},
    )
    plan.run.fitted_potential.touch()
    plan.run.train_predictions.touch()
    record.save(plan.run.fit_record)
    return record


def publish_linear(campaign: Campaign, generation: int) -> Potential:
    """Go through all steps of a generation whose potential is the linear solution."""
    plan = planned(campaign, generation)
    fit = finish_linear(plan)
    closed = close_fit(plan)
    grade_potential(plan)
    has_committee = plan.config.committee.members > 0
    committee = form_committee(plan, closed.reference, solve_members(plan)) if has_committee else None
    evaluation = evaluate_fit(plan)
    checks = list(check_fit(Subject(plan, closed)))
    verdict = judge(plan.config.gate, evaluation, checks)
    return publish(campaign, plan.run, record_of(plan, fit, closed, evaluation, checks, verdict, committee))


def edit(campaign: Campaign, **changes: Any) -> None:
    """Change keys of campaign.yaml; of a section only those that are given."""
    content = yaml.safe_load(campaign.config_file.read_text())
    for key, value in changes.items():
        merged = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = {**content[key], **value} if merged else value
    campaign.config_file.write_text(yaml.safe_dump(content))
