"""Docker and Kubernetes without an engine: what can be checked of their files, and every command that can run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.conftest import REPOSITORY

DOCKER = REPOSITORY / "deployments" / "docker"
DOCKERFILE = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())
COMPOSE = (DOCKER / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
GPU_JOB: dict[str, Any] = json.loads((REPOSITORY / "deployments" / "kubernetes" / "gpu-job.json").read_text())
OURS = [name for name in SERVICES if name != "database"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def environment_of(service: str) -> dict[str, str]:
    return dict(SERVICES[service].get("environment", {}))


def test_what_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    sources = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    sent = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert sources
    assert all((REPOSITORY / source).exists() for source in sources)
    assert next(line for line in sent if not line.startswith("#")) == "*"
    assert {line[1:] for line in sent if line.startswith("!")} == set(sources)


def test_the_image_is_not_roots_and_holds_no_secret() -> None:
    assert instructions("USER") == ["1000"]
    assert not re.search(r"PASSWORD|AUTH|SECRET|TOKEN", DOCKERFILE)


def test_the_images_uv_is_one_that_the_makefile_takes() -> None:
    (pinned,) = re.findall(r'"uv==([\d.]+)"', DOCKERFILE)
    (taken,) = re.findall(r'"uv([><=\d.,]+)"', (REPOSITORY / "Makefile").read_text())
    assert Version(pinned) in SpecifierSet(taken)


@pytest.mark.parametrize("extra", ["cpu", "gpu"])
def test_uv_takes_the_images_commands(extra: str, tmp_path: Path) -> None:
    for file in ("pyproject.toml", "uv.lock"):
        shutil.copy(REPOSITORY / file, tmp_path)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv, "make install puts it beside this Python"
    synced = [line[line.index("uv sync") :] for line in instructions("RUN") if "uv sync" in line]
    assert len(synced) == 2
    for line in synced:
        command = [uv, *shlex.split(line.replace("$EXTRA", extra))[1:], "--dry-run", "--offline"]
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        assert ("tensorflow-cpu" in told.stderr) == (extra == "cpu")
        assert ("nvidia-cudnn" in told.stderr) == (extra == "gpu")
        assert "+ hypothesis" not in told.stderr


def test_every_service_has_an_image_and_waits_for_what_it_needs() -> None:
    assert all(service.get("image") for service in SERVICES.values())
    built = {SERVICES[name]["image"] for name in OURS if "build" in SERVICES[name]}
    assert built == {SERVICES[name]["image"] for name in OURS}
    for service in SERVICES.values():
        for other, until in service.get("depends_on", {}).items():
            needs = {"healthcheck"} if SERVICES[other]["restart"] != "no" else set()
            assert needs <= set(SERVICES[other])
            assert until["condition"] == ("service_healthy" if needs else "service_completed_successfully")


def test_volumes_and_networks_are_declared() -> None:
    declared = yaml.safe_load(COMPOSE)
    volumes = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    networks = {network for service in SERVICES.values() for network in service["networks"]}
    assert volumes == set(declared["volumes"])
    assert networks == set(declared["networks"])


def test_only_loopback_reaches_the_server_and_nobody_the_database() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:4200:4200"]
    reached = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert reached == {"database", "server"}


def test_secrets_come_from_a_file_that_is_not_committed() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE))
    given = dict(re.findall(r"^(\w+)='(.*)'$", (DOCKER / ".env.example").read_text(), flags=re.MULTILINE))
    assert asked == set(given)
    assert len(re.findall(r"\$\{\w+:\?", COMPOSE)) == COMPOSE.count("${"), "without a value, compose must stop"
    ignored = ["git", "check-ignore", "-q", "deployments/docker/.env"]
    assert subprocess.run(ignored, cwd=REPOSITORY, check=False).returncode == 0
    for name in SERVICES:
        for key, value in environment_of(name).items():
            assert not re.search("PASSWORD|AUTH", key) or value.startswith("${"), f"{name}: {key}"


def test_the_settings_are_prefects_own() -> None:
    from prefect import settings

    image = dict(pair.split("=") for line in instructions("ENV") for pair in line.split())
    used = {key for name in OURS for key in environment_of(name)} | set(image)
    assert [key for key in used if key.startswith("PREFECT_") and not hasattr(settings, key)] == []
    assert not hasattr(settings, "PREFECT_SERVER_API_AUTH_STRNG")


def test_server_and_clients_have_the_same_password() -> None:
    asked = environment_of("server")["PREFECT_SERVER_API_AUTH_STRING"]
    clients = [name for name in OURS if name != "server"]
    assert len(clients) == 3
    assert {environment_of(name)["PREFECT_API_AUTH_STRING"] for name in clients} == {asked}


def test_workers_have_time_to_end_their_runs() -> None:
    from deployments.worker import _PATIENCE

    for name in ("worker-cpu", "worker-gpu"):
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > _PATIENCE
        assert SERVICES[name]["init"]  # an engine whose flow was killed does not stay as a zombie
    pod = GPU_JOB["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > _PATIENCE


def test_what_ends_is_started_again_but_no_run_is_begun_twice() -> None:
    assert {name: SERVICES[name]["restart"] for name in SERVICES} == dict.fromkeys(SERVICES, "unless-stopped") | {
        "deploy": "no"
    }
    job = GPU_JOB["job_configuration"]["job_manifest"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert GPU_JOB["variables"]["properties"]["backoff_limit"]["default"] == 0


def test_paths_and_results_of_runs_stay_on_the_campaigns_volume() -> None:
    image = dict(pair.split("=") for line in instructions("ENV") for pair in line.split())
    assert image["MLIP_CAMPAIGNS_ROOT"] == "/campaigns"
    assert image["PREFECT_RESULTS_LOCAL_STORAGE_PATH"].startswith("/campaigns/.")  # both pools read them
    for name in ("worker-cpu", "worker-gpu"):
        assert SERVICES[name]["volumes"] == ["campaigns:/campaigns"]
        assert environment_of(name)["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"


def test_a_service_has_no_more_rights_than_it_needs() -> None:
    for name in OURS:
        assert SERVICES[name]["cap_drop"] == ["ALL"], name
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"], name
    pod = GPU_JOB["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == rights
    assert yaml.safe_load(COMPOSE)["networks"]["database"]["internal"] is True
    origins = environment_of("server")["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert origins == ["http://127.0.0.1:4200", "http://localhost:4200"]


def test_trainings_get_one_gpu_each() -> None:
    worker = SERVICES["worker-gpu"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert worker["build"]["args"] == {"EXTRA": "gpu"}
    assert worker["command"][worker["command"].index("--limit") + 1] == "1"


@pytest.mark.parametrize("service", ["server", "worker-cpu", "worker-gpu"])
def test_prefect_takes_the_services_options(service: str) -> None:
    words = SERVICES[service]["command"]
    prefect = ["server", "start"] if service == "server" else ["worker", "start"]
    shown = subprocess.run(
        [sys.executable, "-m", "prefect", *prefect, "--help"], capture_output=True, text=True, check=True
    )
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.stdout


def test_the_images_own_command_runs() -> None:
    assert instructions("CMD") == ['["mlip-train", "doctor"]']
    asked = [sys.executable, "-m", "deployments.cli", "doctor", "--help"]
    subprocess.run(asked, cwd=REPOSITORY, capture_output=True, check=True)


def test_the_kubernetes_job_asks_for_what_a_training_needs() -> None:
    """Its form, as `prefect work-pool create` checks it; rendered by the worker it was once, by hand."""
    from prefect.client.schemas.actions import WorkPoolCreate

    WorkPoolCreate(name="gpu-pool", type="kubernetes", base_job_template=GPU_JOB)
    variables = GPU_JOB["variables"]["properties"]
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(GPU_JOB["job_configuration"])))
    assert used == set(variables)
    pod = GPU_JOB["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert container["volumeMounts"] == [{"name": "campaigns", "mountPath": "/campaigns"}]
    assert [volume["name"] for volume in pod["volumes"]] == ["campaigns"]
    assert pod["nodeSelector"] == "{{ node_selector }}"
    assert pod["tolerations"] == "{{ tolerations }}"
    assert pod["securityContext"]["runAsUser"] == 1000
    assert variables["image"]["default"] == SERVICES["worker-gpu"]["image"]
