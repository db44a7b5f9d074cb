"""Prefect's basic authentication, set as docs/operations.md says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deployments.local_server import LocalServer, answers

LOGIN = "admin:correct horse%2 b@ttery"

pytestmark = [pytest.mark.usefixtures("prefect_processes")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, server_home: Callable[[Path], Path]) -> Iterator[str]:
    """A server behind a password on a free port of loopback; yields its address."""
    home = server_home(tmp_path_factory.mktemp("guarded"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
        "PREFECT_SERVER_API_PORT": str(port),
    }
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"],
            env=os.environ | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 180
        while not answers(url):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < until, (home / "server.log").read_text()
            time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def as_client(url: str, home: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    known = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"{url}/api", **settings}
    return subprocess.run(
        [sys.executable, "-m", *command], env=known, capture_output=True, text=True, timeout=120, check=False
    )


def test_nothing_but_the_health_is_told_without_the_password(server: str) -> None:
    assert answers(server)  # for health checks
    wrong = [None, ("admin", "wrong"), ("", "")]
    for auth in wrong:
        for path in ("/api/flow_runs/filter", "/api/deployments/filter", "/api/work_pools/filter"):
            assert httpx.post(f"{server}{path}", json={}, auth=auth, trust_env=False).status_code == 401
        assert httpx.get(f"{server}/api/admin/settings", auth=auth, trust_env=False).status_code == 401
    right = tuple(LOGIN.split(":", 1))
    assert httpx.post(f"{server}/api/flow_runs/filter", json={}, auth=right, trust_env=False).status_code == 200


def test_a_client_needs_the_setting(server: str, tmp_path: Path) -> None:
    refused = as_client(server, tmp_path, "prefect", "work-pool", "ls")
    assert refused.returncode != 0
    assert "401 Unauthorized" in refused.stdout + refused.stderr
    let_in = as_client(server, tmp_path, "prefect", "work-pool", "ls", PREFECT_API_AUTH_STRING=LOGIN)
    assert let_in.returncode == 0, let_in.stderr


def test_a_run_without_the_password_says_what_to_set(server: str, tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text("elements: [Si]\n")
    run = ("deployments.cli", "run", str(tmp_path), "data.extxyz")
    for known in ({}, {"PREFECT_API_AUTH_STRING": "admin:wrong"}):
        told = as_client(server, tmp_path, *run, **known)
        assert told.returncode == 2, told.stderr
        assert "set PREFECT_API_AUTH_STRING to the user:password" in told.stderr
        assert "Traceback" not in told.stderr
    let_in = as_client(server, tmp_path, *run, PREFECT_API_AUTH_STRING=LOGIN)
    assert "data.extxyz does not exist" in let_in.stderr


def test_the_local_server_takes_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_home: Callable[[Path], Path]
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", LOGIN)
    local = LocalServer(server_home(tmp_path / "local"))
    url = local.start()
    try:
        assert httpx.post(f"{url}/api/flow_runs/filter", json={}, trust_env=False).status_code == 401
    finally:
        local.stop()


def test_the_password_is_told_to_nobody(server: str) -> None:
    right = tuple(LOGIN.split(":", 1))
    settings = httpx.get(f"{server}/api/admin/settings", auth=right, trust_env=False)
    assert settings.status_code == 200
    assert "correct horse" not in settings.text
