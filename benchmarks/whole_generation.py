"""What a whole generation costs: `mlip-train run` with a server of its own, every process counted.

    .venv/bin/python benchmarks/whole_generation.py --data Si_train.extxyz --elements Si
    .venv/bin/python benchmarks/whole_generation.py --data Si_train.extxyz --elements Si --beside ../earlier

`--beside` names a checkout with an installed environment (`make install`), which does the same in the same run:
only the ratio says something beyond this machine. Counted is the processor time of all processes that belong to
the run, Prefect's server among them. The parts are the tasks of the flow, as Prefect has timed them; what is in
none of them (imports, the server's start, Prefect between tasks) is the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
from results import compare
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
_LOOK_EVERY = 0.1  # s
_SHOWN = 10


def main() -> None:
    """Run a generation with each checkout, and print what took how long."""
    options = _options()
    seconds = {}
    for checkout in filter(None, (options.beside, ROOT)):
        with tempfile.TemporaryDirectory() as folder:
            cpu, wall, parts = _run(Path(checkout).resolve(), Path(folder), options)
        seconds[str(checkout)] = cpu
        Console().print(_table(str(checkout), cpu, wall, parts))
    figures = {"processor seconds": seconds[str(ROOT)]}
    if options.beside:
        figures["share of the other checkout's processor seconds"] = seconds[str(ROOT)] / seconds[options.beside]
    compare(f"whole_generation_{options.preset}", figures, keep=options.keep)


def _run(checkout: Path, folder: Path, options: argparse.Namespace) -> tuple[float, float, Counter[str]]:
    """Processor seconds of all processes, seconds from start to end, and seconds of each task."""
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "XDG_DATA_HOME": str(folder / "data"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [str(checkout / ".venv" / "bin" / "mlip-train")]
    made = [*command, "init", "campaign", "--elements", *options.elements, "--preset", options.preset]
    subprocess.run(made, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    began, cpu = time.monotonic(), {}
    run = subprocess.Popen(
        [*command, "run", "campaign", str(options.data.resolve())], cwd=folder, env=environment, stdout=sys.stderr
    )
    while run.poll() is None:
        cpu |= _processor_times(folder)
        time.sleep(_LOOK_EVERY)
    wall = time.monotonic() - began
    cpu |= _processor_times(folder)
    where = [str(checkout / ".venv" / "bin" / "python"), "-m", "deployments.local_server"]
    try:
        if run.returncode:
            sys.exit(f"{checkout} failed with exit code {run.returncode}")
        shown = subprocess.run(
            [*where, "where"], cwd=checkout, env=environment, check=True, capture_output=True, text=True
        )
        address = next(word for word in (shown.stdout + shown.stderr).split() if word.startswith("http://"))
        return sum(cpu.values()), wall, _tasks(address)
    finally:
        subprocess.run([*where, "stop"], cwd=checkout, env=environment, check=True, stdout=sys.stderr)


def _processor_times(folder: Path) -> dict[int, float]:
    """Of every process that was started for this folder, the server and its workers among them."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT_HOME", "").startswith(str(folder)):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
    return found


def _tasks(address: str) -> Counter[str]:
    root = address.rstrip("/").removesuffix("/dashboard").removesuffix("/api")
    found = httpx.post(f"{root}/api/task_runs/filter", json={}).raise_for_status().json()
    return Counter({one["name"]: one["total_run_time"] for one in found if not one["name"].startswith("train-p")})


def _table(checkout: str, cpu: float, wall: float, parts: Counter[str]) -> Table:
    table = Table(title=f"{checkout}: {cpu:.0f} processor seconds, {wall:.0f} s from start to end")
    table.add_column("part")
    table.add_column("seconds", justify="right")
    rest = Counter(parts) + Counter({"imports, Prefect and its server": wall - sum(parts.values())})
    for name, seconds in rest.most_common(_SHOWN):
        table.add_row(name, f"{seconds:.1f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "examples" / "silicon" / "batch_1.extxyz")
    parser.add_argument("--elements", nargs="+", default=["Si"])
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--beside", help="another checkout, to be compared with")
    parser.add_argument("--keep", action="store_true", help="keep these results as the last ones")
    return parser.parse_args()


if __name__ == "__main__":
    main()
