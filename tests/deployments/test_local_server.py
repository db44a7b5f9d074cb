from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.local_server import LocalServer, answers

pytestmark = [pytest.mark.usefixtures("prefect_processes")]


def test_a_server_is_started_once_kept_and_ended(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "prefect")
    assert server.url() is None
    assert server.stop() is False

    url = server.start()
    try:
        assert url.startswith("http://127.0.0.1:")
        assert answers(url)
        assert LocalServer(tmp_path / "prefect").start() == url
        assert (tmp_path / "prefect" / "prefect.db").exists()
        listening = {
            connection.laddr.ip
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == int(url.rsplit(":", 1)[1])
        }
        assert listening == {"127.0.0.1"}
        assert may_post(url, origin=url)
        assert may_post(url, origin=url.replace("127.0.0.1", "localhost"))
        assert not may_post(url, origin="https://elsewhere.example")
    finally:
        assert server.stop() is True
    assert not answers(url)
    assert server.url() is None


def may_post(url: str, origin: str) -> bool:
    """Whether a browser would let a page of that origin send JSON to the server."""
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    told = httpx.options(f"{url}/api/flow_runs/", headers=asks, trust_env=False)
    return told.headers.get("Access-Control-Allow-Origin") in {origin, "*"}


def test_another_process_with_the_old_pid_is_left_alone(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    (tmp_path / "server.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0, "port": 9}))
    assert server.url() is None
    assert server.stop() is False


class _Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_another_server_at_the_port_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_home: Callable[[Path], Path]
) -> None:
    stranger = ThreadingHTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    taken = stranger.server_address[1]
    free = LocalServer._free_port
    ports = iter([taken])
    monkeypatch.setattr(LocalServer, "_free_port", lambda self: next(ports, None) or free(self))
    server = LocalServer(server_home(tmp_path))
    try:
        url = server.start()
        assert answers(f"http://127.0.0.1:{taken}")
        assert url != f"http://127.0.0.1:{taken}"
        assert answers(url)
    finally:
        server.stop()
        stranger.shutdown()
