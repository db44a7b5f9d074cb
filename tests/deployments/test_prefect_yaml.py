"""Prefect ignores keys that it does not know, so a slip in prefect.yaml would go unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, RawScheduleConfig, WorkPoolConfig
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate

from deployments.deploy import CPU_POOL, GPU_POOL
from flows.train_generation import train_generation
from tests.conftest import REPOSITORY

FILE = REPOSITORY / "deployments" / "prefect.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]
EACH = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["entrypoint"].rpartition(":")[2])


def known(model: type, *more: str) -> set[str]:
    fields = model.model_fields  # type: ignore[attr-defined]
    return {*fields, *(field.alias for field in fields.values() if field.alias), *more}


def test_every_key_of_the_file_is_one_that_prefect_knows() -> None:
    PrefectYamlModel.model_validate(CONTENT)
    assert set(CONTENT) <= known(PrefectYamlModel, "definitions")


@EACH
def test_every_key_of_a_deployment_is_one_that_prefect_knows(deployment: dict[str, Any]) -> None:
    assert set(deployment) <= known(DeploymentConfig)
    assert set(deployment["work_pool"]) <= known(WorkPoolConfig)
    for schedule in deployment.get("schedules", []):
        RawScheduleConfig.model_validate(schedule)
        assert schedule["slug"]
        assert schedule["active"] is False  # nothing runs before a person has chosen a campaign
    for trigger in deployment.get("triggers", []):
        assert set(trigger) <= known(DeploymentEventTrigger)
        DeploymentEventTrigger.model_validate(trigger)


@EACH
def test_parameters_are_those_of_the_flow(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(str(REPOSITORY / deployment["entrypoint"]))
    accepted = set(parameter_schema(flow).model_dump()["properties"])
    given = set(deployment.get("parameters", {}))
    for trigger in deployment.get("triggers", []):
        given |= set(trigger.get("parameters", {}))
    assert given <= accepted


@EACH
def test_every_parameter_is_explained_in_the_form(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(str(REPOSITORY / deployment["entrypoint"]))
    for name, schema in parameter_schema(flow).model_dump()["properties"].items():
        assert schema.get("description"), name


def test_the_form_of_a_new_campaign_reads_like_campaign_yaml() -> None:
    form = parameter_schema(train_generation).model_dump()
    assert list(form["properties"]) == ["campaign", "data", "new_campaign"]
    assert form["required"] == ["campaign", "data"]
    assert form["properties"]["data"]["items"] == {"type": "string"}
    sections = form["definitions"]
    assert sections["NewCampaign"]["properties"]["preset"]["enum"] == ["quick", "standard", "accurate"]
    assert sections["NewCampaign"]["properties"]["preset"]["default"] == "standard"
    assert sections["Basis"]["properties"]["cutoff"]["default"] == 6.0
    assert sections["Fit"]["properties"]["optimizer"]["enum"] == ["BFGS", "L-BFGS-B"]
    for section, schema in sections.items():
        for key, field in schema["properties"].items():
            assert field["title"] == key, f"{section}.{key}"
            assert "description" in field or key == "kind", f"{section}.{key}"
            members = field.get("anyOf", [])
            assert all("$ref" in member or "type" in member for member in members), f"{section}.{key} has no words"


def test_a_form_is_checked_before_a_run_exists() -> None:
    schema = parameter_schema(train_generation).model_dump()
    good = {"campaign": "silicon", "data": ["a.extxyz"], "new_campaign": {"elements": ["Si"], "fit": None}}
    validate(good, schema, raise_on_error=True)
    for wrong in ({"elements": []}, {"elements": ["Si"], "preset": "fast"}, {"elements": ["Si"], "bassis": {}}):
        with pytest.raises(ValidationError):
            validate({**good, "new_campaign": wrong}, schema, raise_on_error=True)


def test_an_event_is_believed_when_it_says_that_all_files_are_written() -> None:
    (watch,) = (one for one in DEPLOYMENTS if one.get("triggers"))
    (trigger,) = watch["triggers"]
    assert watch["entrypoint"].endswith(":watch_inbox")
    assert trigger["enabled"] is True
    assert trigger["parameters"]["settle_seconds"] == 0  # else the run that it starts would find nothing complete
    known_by = DeploymentEventTrigger.model_validate(trigger)
    assert set(known_by.expect) == {"mlip-train.dft-results.landed"}
    assert known_by.match.root == {"prefect.resource.id": "mlip-train.campaign.*"}


@EACH
def test_a_run_waits_for_a_server_that_restarts(deployment: dict[str, Any]) -> None:
    (retries,) = deployment["work_pool"]["job_variables"]["env"].values()
    assert sum(2.0**attempt for attempt in range(1, int(retries) + 1)) > 300
    assert set(deployment["work_pool"]["job_variables"]["env"]) == {PREFECT_CLIENT_MAX_RETRIES.name}


def test_training_has_a_pool_of_its_own() -> None:
    pools = {one["entrypoint"].rpartition(":")[2]: one["work_pool"]["name"] for one in DEPLOYMENTS}
    assert pools == {"train_generation": CPU_POOL, "train_potential": GPU_POOL, "watch_inbox": CPU_POOL}
