from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from deployments.local_server import LocalServer, answers

pytestmark = [pytest.mark.service]


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
    finally:
        assert server.stop() is True
    assert not answers(url)
    assert server.url() is None


def test_another_process_with_the_old_pid_is_left_alone(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    (tmp_path / "server.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0, "port": 9}))
    assert server.url() is None
    assert server.stop() is False
