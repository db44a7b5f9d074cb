"""Generations in processes of their own, and the engines that they start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from mlip_train import Campaign
from tests.conftest import REPOSITORY

__all__ = ["engines_of", "start_run", "wait_for"]

RUN = """
import sys
from flows.train_generation import train_generation
print("ready", flush=True)
train_generation(sys.argv[1], sys.argv[2:])
"""


def start_run(campaign: Campaign, data: Path, api: str) -> subprocess.Popen[str]:
    """Start a generation in a process of its own; return once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(campaign.root), str(data)],
        cwd=REPOSITORY,
        env={**os.environ, "PREFECT_API_URL": f"{api}/api"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def engines_of(campaign: Campaign) -> list[psutil.Process]:
    """Engines at work; not their flow, whose command line may name the campaign, too."""
    inputs = str(campaign.root / "generations")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(part.startswith(inputs) for part in process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
