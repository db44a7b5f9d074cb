"""The README does what it says: its commands are run as written, in a fresh clone with a new home."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.flows.processes import wait_for

README = (REPOSITORY / "README.md").read_text()

pytestmark = [pytest.mark.service, pytest.mark.engine, pytest.mark.timeout(2400)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "mlip_train"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    return folder


def as_newcomer(command: str, clone: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in the clone, with nothing of this user's settings."""
    shell, environment = ["bash", "-c", command], newcomers_environment(clone)
    return subprocess.run(shell, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def newcomers_environment(clone: Path) -> dict[str, str]:
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    kept = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "PIP_", "UV_", "REQUESTS_CA_BUNDLE", "http", "HTTP")
    environment = {key: value for key, value in os.environ.items() if key.startswith(kept)}
    return environment | {"HOME": str(home), "COLUMNS": "80"}


def use_the_service(clone: Path) -> None:
    """Serve, deploy, work, and send the form."""
    (lines,) = [block for block in blocks("sh") if block.startswith("make serve")]
    serve, register, work = (line.partition("#")[0].strip() for line in lines.splitlines())
    assert "Prefect is at http://127.0.0.1:" in as_newcomer(serve, clone).stdout
    told = as_newcomer(register, clone).stdout
    form = re.search(r"(http://127\.0\.0\.1:\d+)/deployments/deployment/(\S+)/run", told)
    assert form, told
    workers = subprocess.Popen(
        [*work.split()], cwd=clone, env=newcomers_environment(clone), start_new_session=True
    )
    try:
        campaign = {"elements": ["Si"], "preset": "quick", "fit": {"max_epochs": 5}}
        filled = {"campaign": "from_form", "data": ["examples/silicon/batch_1.extxyz"], "new_campaign": campaign}
        api = f"{form[1]}/api"
        sent = httpx.post(f"{api}/deployments/{form[2]}/create_flow_run", json={"parameters": filled}).json()
        run = f"{api}/flow_runs/{sent['id']}"
        assert wait_for(lambda: httpx.get(run).json()["state"]["name"] == "Completed", 300), httpx.get(run).json()
    finally:
        os.killpg(workers.pid, signal.SIGINT)  # as Ctrl-C does
        assert workers.wait(60) is not None
    assert (clone / "from_form" / "potentials" / "potential_gen_01.yace").is_file()


def test_the_two_commands_stand_at_the_top() -> None:
    top = "\n".join(README.splitlines()[:25])
    assert "\nmake demo " in top
    assert "\nmake test " in top


def test_a_newcomer_follows_the_readme(clone: Path) -> None:
    try:
        demo = as_newcomer("make demo", clone)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        last = "\n".join((demo.stderr + demo.stdout).splitlines()[-15:])
        seen = demo.stdout + demo.stderr
        for told in ("potential_gen_02.yace", "loss_curve.png", "http://127.0.0.1:", "YOUR_DFT_RESULTS"):
            assert told in seen
        assert "http://127.0.0.1:" in last
        assert (clone / "demo" / "potentials" / "potential_gen_02.yace").is_file()
        assert (clone / "demo" / "generations" / "gen_02" / "loss_curve.png").is_file()

        commands = [line for block in blocks("") for line in block.splitlines() if line.startswith(".venv/bin/")]
        assert len(commands) >= 4
        for command in commands:
            done = as_newcomer(command, clone)
            assert done.returncode == 0, f"{command}\n{done.stderr}"

        python = "from ase.build import bulk\natoms = bulk('Si')\n" + "\n".join(blocks("python"))
        (clone / "readme_blocks.py").write_text(python)
        done = as_newcomer(".venv/bin/python readme_blocks.py", clone)
        assert done.returncode == 0, done.stderr
        assert "meV/atom" in done.stdout
        use_the_service(clone)
    finally:
        assert "stopped" in as_newcomer("make stop", clone).stdout
