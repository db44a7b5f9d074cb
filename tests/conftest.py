"""What all tests share: a Prefect home of their own, small data, and the stand-in engine."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

# Before anything imports Prefect, whose settings are read once: never the user's own.
_HOME = tempfile.mkdtemp(prefix="mlip-train-tests-")
_MADE = f"{_HOME}/made.db"  # Prefect's database as its first start leaves it
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for key in [key for key in os.environ if key.startswith("PREFECT_")]:
    del os.environ[key]
os.environ |= {
    "PREFECT_HOME": f"{_HOME}/prefect",
    "XDG_DATA_HOME": f"{_HOME}/data",
    "XDG_CACHE_HOME": f"{_HOME}/cache",
    "NUMBA_CACHE_DIR": str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"),  # one for all processes
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
    "OMP_NUM_THREADS": "1" if "PYTEST_XDIST_WORKER" in os.environ else "2",
}

import ase.io  # noqa: E402
import pytest  # noqa: E402
import yaml  # noqa: E402
from ase import Atoms  # noqa: E402
from hypothesis import settings  # noqa: E402

from mlip_train.campaign.campaign import Campaign  # noqa: E402

settings.register_profile("mlip", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("mlip")

REPOSITORY = Path(__file__).parent.parent
STANDIN = Path(__file__).parent / "standin" / "pacemaker.py"
SILICON = REPOSITORY / "examples" / "silicon"
DATA = Path(__file__).parent / "data"


# What makes a test slow, by the fixture that does: a mark, and with it the lanes that the test is not in.
COSTS = {
    "prefect_server": "service",  # a Prefect server, and flows on it
    "prefect_processes": "service",  # servers, workers or whole commands of the test's own
    "real_engine": "engine",  # the real Pacemaker, which takes 20 s to start
    "newcomer": "newcomer",  # a clone in which everything is installed anew
    "silicon": "fits",  # real DFT data, which are there to be fitted, by the solver or the stand-in engine
    "make_alloy": "fits",
}
LANES: dict[str, set[str]] = {
    "fast": {"service", "engine", "newcomer", "fits"},
    "test": {"service", "engine"},
    "all": set(),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", choices=LANES, default="all", help="Which tests to run: see docs/developing.md.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, leave out those of slower lanes, and put the slowest ones first."""
    left_out = LANES[config.getoption("--lane")]
    slow, quick, deselected = [], [], []
    for item in items:
        marks = {COSTS[name] for name in set(COSTS).intersection(getattr(item, "fixturenames", ()))}
        marks |= {mark.name for mark in item.iter_markers()} & set(COSTS.values())
        for mark in sorted(marks):
            item.add_marker(mark)
        (deselected if marks & left_out else slow if marks - {"fits"} else quick).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = slow + quick  # so that at the end no worker of pytest-xdist is left alone with a long one


@pytest.fixture(scope="session")
def real_engine() -> dict[str, bool]:
    """What a campaign is given to train with the real Pacemaker."""
    return {"real_engine": True}


@pytest.fixture(scope="session")
def prefect_processes() -> None:
    """Marks what starts servers, workers or whole commands of its own."""


@pytest.fixture(scope="session")
def silicon() -> list[Atoms]:
    """Real DFT results: 54 silicon structures."""
    return list(ase.io.iread(SILICON / "batch_1.extxyz"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """One real Prefect server for all tests that run flows; yields its address."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from deployments.local_server import LocalServer

    server = LocalServer()
    server.home.mkdir(parents=True)
    # by itself it looks every 20 s for runs whose parent was cancelled
    often = "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS = '1'"
    (server.home / "profiles.toml").write_text(f'active = "tests"\n[profiles.tests]\n{often}\n')
    url = server.start()
    with closing(sqlite3.connect(server.home / "prefect.db")) as fresh, closing(sqlite3.connect(_MADE)) as copy:
        fresh.backup(copy)
    try:
        # the heartbeat thread would hold every flow for a second at its end
        with temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield url
            time.sleep(1)  # the last log lines are still on their way
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server_home(prefect_server: str, prefect_processes: None) -> Callable[[Path], Path]:
    """Gives a further server a home whose database is made already, which is most of the time of its start."""

    def make(home: Path) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_MADE, home / "prefect.db")
        return home

    return make


@pytest.fixture(scope="session")
def campaign_text() -> Callable[..., str]:
    """A campaign.yaml with a tiny basis; the engine is the stand-in unless said otherwise."""

    def text(
        *,
        real_engine: bool = False,
        environment: dict[str, str] | None = None,
        placement: str | dict[str, str] = "here",
        gpu: dict[str, Any] | None = None,
        **keys: Any,
    ) -> str:
        command = ["pacemaker"] if real_engine else [sys.executable, str(STANDIN)]
        content = {
            "elements": ["Si"],
            "basis": {
                "cutoff": 4.5,
                "functions_per_element": 8,
                "nradmax_by_orders": [4, 2],
                "lmax_by_orders": [0, 1],
                "embedding": "finnis_sinclair",
            },
            "loss_weights": {"energy": 0.9, "force": 0.1},
            "fit": {"max_epochs": 8},
            # what the stand-in trains is of no use in MD, and worse or better than its parent by chance
            "physics": {"volume": False, "symmetry": False, "nve": None},
            "gate": {"on": [], "require": ["consistency", "dimer"]},
            "engine": {"command": command, "environment": environment or {}, "placement": placement, "gpu": gpu},
            **keys,
        }
        return yaml.safe_dump(content)

    return text


@pytest.fixture
def make_campaign(tmp_path: Path, campaign_text: Callable[..., str]) -> Callable[..., Campaign]:
    """Makes a campaign; see `campaign_text` for what it takes."""

    def make(name: str = "campaign", **keys: Any) -> Campaign:
        return Campaign.create(tmp_path / name, campaign_text(**keys))

    return make


@pytest.fixture(scope="session")
def write_frames(silicon: list[Atoms]) -> Callable[[Path, int, int], Path]:
    """Writes some of the silicon structures to a file."""

    def write(path: Path, start: int, stop: int) -> Path:
        ase.io.write(path, silicon[start:stop])
        return path

    return write


@pytest.fixture
def write_batch(tmp_path: Path, write_frames: Callable[[Path, int, int], Path]) -> Callable[[int, int], Path]:
    """Writes some of the silicon structures to a file named after them."""

    def write(start: int, stop: int) -> Path:
        return write_frames(tmp_path / f"silicon_{start}_{stop}.extxyz", start, stop)

    return write
