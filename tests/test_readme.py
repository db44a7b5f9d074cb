"""README and guide do what they say: their commands are run as written, in a fresh clone with a new home.

The packages are those that are installed already; that they can be installed is seen where CI starts from nothing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.flows.processes import wait_for

README = (REPOSITORY / "README.md").read_text()
GUIDE = (REPOSITORY / "docs" / "guide.md").read_text()

pytestmark = pytest.mark.timeout(2400)


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == language]


def commands_of(text: str) -> list[str]:
    return [line for block in blocks(text, "") for line in block.splitlines() if line.startswith(".venv/bin/")]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "mlip_train"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    environment = folder / ".venv"
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        (environment / part.name).symlink_to(part)
    for declares in ("pyproject.toml", "uv.lock"):  # older than what is installed, which make leaves as it is
        os.utime(folder / declares, (0, 0))
    (environment / ".installed-cpu").unlink(missing_ok=True)
    (environment / ".installed-cpu").touch()
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
    # the packages are installed for the folder of the tests, whose code is not meant
    return environment | {"HOME": str(home), "COLUMNS": "80", "PYTHONPATH": str(clone)}


def follow(text: str, clone: Path, before: str = "") -> str:
    """Run the commands of a page, then its Python; return what that prints."""
    commands = commands_of(text)
    assert len(commands) >= 4
    for command in commands:
        done = as_newcomer(command, clone)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if " init " in command:  # the demo trains with the engine; here the solver is enough
            use_the_solver(clone / command.split()[2] / "campaign.yaml")
    (clone / "blocks.py").write_text("\n".join([before, *blocks(text, "python")]))
    done = as_newcomer(".venv/bin/python blocks.py", clone)
    assert done.returncode == 0, done.stderr
    return done.stdout


def use_the_solver(settings: Path) -> None:
    content = yaml.safe_load(settings.read_text())
    content["fit"] = {**content.get("fit", {}), "max_epochs": 0}
    settings.write_text(yaml.safe_dump(content))


def use_the_service(clone: Path) -> None:
    """Serve, deploy, work, and send the form."""
    (lines,) = [block for block in blocks(README, "sh") if block.startswith("make serve")]
    serve, register, work = (line.partition("#")[0].strip() for line in lines.splitlines())
    assert "Prefect is at http://127.0.0.1:" in as_newcomer(serve, clone).stdout
    printed = as_newcomer(register, clone).stdout
    form = re.search(r"(http://127\.0\.0\.1:\d+)/deployments/deployment/(\S+)/run", printed)
    assert form, printed
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


def test_a_newcomer_follows_the_readme(newcomer: Path) -> None:
    try:
        demo = as_newcomer("make demo", newcomer)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        last = "\n".join((demo.stderr + demo.stdout).splitlines()[-15:])
        seen = demo.stdout + demo.stderr
        for shown in ("potential_gen_02.yace", "loss_curve.png", "http://127.0.0.1:", "YOUR_DFT_RESULTS"):
            assert shown in seen
        assert "http://127.0.0.1:" in last
        assert (newcomer / "demo" / "potentials" / "potential_gen_02.yace").is_file()
        assert (newcomer / "demo" / "generations" / "gen_02" / "loss_curve.png").is_file()
        assert "meV/atom" in follow(README, newcomer)
        follow(GUIDE, newcomer, "from ase.build import bulk\natoms = bulk('Si')")
        use_the_service(newcomer)
    finally:
        assert "stopped" in as_newcomer("make stop", newcomer).stdout
