"""Is this machine ready to train? What is missing, and how to mend it."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from prefect.settings import get_current_settings

from deployments.local_server import LocalServer, configured_server_problem
from mlip_train.errors import EngineError, EngineNotFoundError
from mlip_train.pacemaker.command import find_engine
from mlip_train.pacemaker.devices import visible_devices

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    good: bool
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything a training needs."""
    return [
        _packages(),
        _engine(),
        _tensorflow(),
        _setpriv(),
        _prefect(),
    ]


def _packages() -> Finding:
    """Compare what is installed with what this project asks for in its own metadata."""
    wanted = [Requirement(line) for line in requires("mlip-train") or []]
    wanted = [package for package in wanted if package.marker is None or package.marker.evaluate({"extra": ""})]
    wrong = []
    for package in wanted:
        try:
            found = version(package.name)
        except PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not package.specifier.contains(found, prereleases=True):
            wrong.append(f"{package.name}{package.specifier} ({found})")
    summary = ", ".join(wrong) or f"all {len(wanted)} in versions known to work together"
    return Finding("packages", summary, good=not wrong, remedy="run: make install")


def _engine() -> Finding:
    try:
        command = find_engine(["pacemaker"])
    except EngineNotFoundError as error:
        return Finding("engine", "no pacemaker command", good=False, remedy=str(error))
    # Really run: its command line imports more than its package declares.
    return _ask("engine", [*command, "-v"], remedy="run: make install")


def _tensorflow() -> Finding:
    try:
        return Finding("TensorFlow", str(visible_devices()), good=True)
    except EngineError as error:
        remedy = "run: make install, or with a GPU: make EXTRA=gpu install"
        return Finding("TensorFlow", str(error), good=False, remedy=remedy)


def _ask(what: str, command: list[str], remedy: str) -> Finding:
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return Finding(what, "no answer within five minutes", good=False, remedy=remedy)
    lines = (asked.stdout if asked.returncode == 0 else asked.stderr).strip().splitlines() or ["it said nothing"]
    found = lines[0] if asked.returncode == 0 else lines[-1]
    return Finding(what, found, asked.returncode == 0, remedy)


def _setpriv() -> Finding:
    found = shutil.which("setpriv")
    return Finding(
        "setpriv",
        found or "not found",
        good=found is not None,
        remedy="install util-linux; without it a killed run leaves its training behind",
    )


def _prefect() -> Finding:
    url = get_current_settings().api.url
    if url is None:
        running = LocalServer().url()
        found = f"local server at {running}" if running else "local server, started when it is needed"
        return Finding("Prefect", found, good=True)
    problem = configured_server_problem()
    found = f"{url} {'answers' if problem is None else 'cannot be used'}"
    return Finding("Prefect", found, problem is None, problem or "")
