"""Plans, and potentials made without the engine, for tests that need one."""

from __future__ import annotations

from typing import Any

import yaml

from mlip_train.campaign import Campaign
from mlip_train.checking import check_fit
from mlip_train.deployment import deploy_fit
from mlip_train.generation import finish_linear, record_of
from mlip_train.grading import grade_potential
from mlip_train.measuring import evaluate_fit
from mlip_train.planning import FitPlan, FitRecord, plan_fit, write_fit
from mlip_train.potential import Potential, publish
from mlip_train.selection import select_structures

__all__ = ["edit", "finished", "planned", "publish_linear"]


def planned(campaign: Campaign, generation: int) -> FitPlan:
    """Go through all steps before the engine."""
    plan = plan_fit(campaign, generation, select_structures(campaign, generation))
    write_fit(plan)
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
    plan.run.fit_record.write_text(record.model_dump_json())
    return record


def publish_linear(campaign: Campaign, generation: int) -> Potential:
    """Go through all steps of a generation whose potential is the linear solution."""
    plan = planned(campaign, generation)
    fit = finish_linear(plan)
    deployment = deploy_fit(plan)
    grade_potential(campaign, generation, plan.config.active_set.gamma_tolerance)
    evaluation = evaluate_fit(plan)
    checks = list(check_fit(plan, deployment, evaluation))
    return publish(campaign, plan.run, record_of(plan, fit, deployment, evaluation, checks))


def edit(campaign: Campaign, **changes: Any) -> None:
    """Change keys of campaign.yaml; of a section only those that are given."""
    content = yaml.safe_load(campaign.config_file.read_text())
    for key, value in changes.items():
        merged = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = {**content[key], **value} if merged else value
    campaign.config_file.write_text(yaml.safe_dump(content))
