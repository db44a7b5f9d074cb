"""A Prefect server of our own: on loopback, with SQLite, started when there is none and then kept.

Prefect would otherwise start a temporary server per command, which loses task runs and is gone when
somebody wants to look. Ours lives in the user's data directory and is shared by all campaigns.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import httpx
import platformdirs
import psutil
import tenacity
from pydantic import ValidationError

from mlip_train.base.files import write_atomically
from mlip_train.base.frozen import Frozen
from mlip_train.errors import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

__all__ = ["LocalServer", "configured_server_problem", "prefect_api"]

_HOST = "127.0.0.1"
_USUAL_PORT = 4200
_ATTEMPTS = 3
_PATIENCE = 180.0  # seconds; a first start migrates the database


class _Running(Frozen):
    pid: int
    created: float  # of the process, so that a reused pid is not mistaken for the server
    port: int

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"


class LocalServer:
    """The server of this user on this machine."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or Path(platformdirs.user_data_dir("mlip_train")) / "prefect"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.home / "server.log"

    @property
    def _record(self) -> Path:
        return self.home / "server.json"

    def url(self) -> str | None:
        """Address of the running server, or None."""
        running = self._running()
        return running.url if running and _serves(running) else None

    def start(self) -> str:
        """Return the address of the server, started if it is not running.

        Raises
        ------
        InputError
            When it does not come up; its log is named.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.home / ".lock"):
            running = self._running()
            for _ in range(_ATTEMPTS):
                running = running or self._launch()
                # A server that is there but slow is waited for: other runs may be using it.
                if self._comes_up(running):
                    return running.url
                running = None  # it ended, as it does when another program was quicker to take its port
        raise InputError(f"the local Prefect server does not start; its log is {self.log}")

    def stop(self) -> bool:
        """End the server; return whether there was one."""
        running = self._running()
        self._record.unlink(missing_ok=True)
        if running is None:
            return False
        server = psutil.Process(running.pid)
        processes = [server, *server.children(recursive=True)]
        server.terminate()
        _, alive = psutil.wait_procs(processes, timeout=15)
        for process in alive:
            process.kill()
        return True

    def _running(self) -> _Running | None:
        if not self._record.exists():
            return None
        try:
            running = _Running.model_validate_json(self._record.read_bytes())
        except ValidationError:  # of another version of this program
            return None
        try:
            process = psutil.Process(running.pid)
            created = process.create_time()
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return running if abs(created - running.created) < 1.0 else None

    def _launch(self) -> _Running:
        port = self._free_port()
        process = psutil.Process(self._spawn(port).pid)
        running = _Running(pid=process.pid, created=process.create_time(), port=port)
        write_atomically(self._record, running.model_dump_json() + "\n")
        return running

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        # The port goes into the environment: with the flag alone the web page would call port 4200.
        settings = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_API_HOST": _HOST,
            "PREFECT_SERVER_API_PORT": str(port),
            # Prefect's default lets a page of any origin, open in a browser here, start runs.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{_HOST}:{port},http://localhost:{port}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        kept = "PREFECT_SERVER_API_AUTH_STRING"  # whoever sets a password does not mean an open server
        environment = {
            key: value for key, value in os.environ.items() if key == kept or not key.startswith("PREFECT_")
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start"],
                env=environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives the command that started it
            )

    def _comes_up(self, running: _Running) -> bool:
        """Wait for a server to answer; False when its process ends instead."""
        patience = tenacity.stop_after_delay(_PATIENCE)
        waiting = tenacity.Retrying(
            stop=lambda attempt: patience(attempt) or self._running() is None,
            wait=tenacity.wait_fixed(0.3),
            retry=tenacity.retry_if_result(lambda up: not up),
        )
        try:
            return waiting(_serves, running)
        except tenacity.RetryError as error:
            if self._running() is None:
                return False
            raise InputError(
                f"the local Prefect server (process {running.pid}) does not answer at {running.url}; its log is "
                f"{self.log}. End it with `make stop` and run this again"
            ) from error

    def _free_port(self) -> int:
        for port in (_USUAL_PORT, 0):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                return int(probe.getsockname()[1])
        raise InputError(f"no free port on {_HOST}")


def _serves(running: _Running) -> bool:
    """Whether this very process answers; another one's server may stand at its port."""
    try:
        server = psutil.Process(running.pid)
        listening = {
            connection.laddr.port
            for process in (server, *server.children(recursive=True))
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    except psutil.NoSuchProcess:
        return False
    return running.port in listening and answers(running.url)


def answers(url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        # not through a proxy: the address is this machine's own
        return httpx.get(f"{url}/api/health", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def prefect_api() -> Iterator[None]:
    """Make flows run against the configured Prefect server, or the local one.

    Raises
    ------
    InputError
        When a server is configured (PREFECT_API_URL) but does not answer, or asks for another password.
    """
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    url = get_current_settings().api.url or f"{LocalServer().start()}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        problem = configured_server_problem()
        if problem is not None:
            raise InputError(problem)
        yield


def configured_server_problem() -> str | None:
    """What is wrong with the server that PREFECT_API_URL names; None when it answers."""
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
        if error is None:  # which everybody may know
            return _password_problem(client)
    return (
        f"PREFECT_API_URL is {get_current_settings().api.url}, but nothing answers there ({error}); start that "
        "server, or unset PREFECT_API_URL (in a profile: prefect config unset PREFECT_API_URL) to use a local one"
    )


def _password_problem(client: SyncPrefectClient) -> str | None:
    try:
        client.api_version()
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.UNAUTHORIZED:
            raise
        return (
            f"the server at {client.api_url} asks for another password; set PREFECT_API_AUTH_STRING to the "
            "user:password that it was started with (its PREFECT_SERVER_API_AUTH_STRING)"
        )
    return None


def main() -> None:
    """`start` starts and shows the local server, `where` says where it is, `stop` ends it."""
    match sys.argv[1:]:
        case ["start"]:
            url = LocalServer().start()
            print(f"Prefect is at {url} (make stop ends it)")
            if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
                webbrowser.open(url)
        case ["where"]:
            print(f"Prefect:     {LocalServer().url() or 'no local server is running; make serve starts it'}")
        case ["stop"]:
            print("stopped" if LocalServer().stop() else "there was no local Prefect server running")
        case _:
            sys.exit("usage: python -m deployments.local_server start|where|stop")


if __name__ == "__main__":
    main()
