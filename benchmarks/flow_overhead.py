"""How much longer a generation takes than its engine.

Trains one generation of the shipped silicon data with the real engine and prints the flow's wall time,
the engine's wall time, their difference and the allowance (5 % of the engine's time + 15 s).

    .venv/bin/python benchmarks/flow_overhead.py [--keep]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from results import compare

from deployments.local_server import prefect_api
from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.config.template import campaign_yaml

DATA = Path(__file__).parent.parent / "examples" / "silicon" / "batch_1.extxyz"


def main() -> int:
    """Measure and print; exit 1 when the allowance is exceeded."""
    with tempfile.TemporaryDirectory() as folder, prefect_api():
        campaign = Campaign.create(Path(folder) / "silicon", campaign_yaml(["Si"], "quick"))
        began = time.perf_counter()
        result = train_generation(campaign.root, [DATA])
        flow_seconds = time.perf_counter() - began
    engine_seconds = result.potential.record.seconds["engine"]
    overhead, allowance = flow_seconds - engine_seconds, 0.05 * engine_seconds + 15
    figures = {
        "flow (s)": flow_seconds,
        "engine (s)": engine_seconds,
        "overhead (s)": overhead,
        "allowed: 5 % of the engine's time + 15 s (s)": allowance,
    }
    compare("flow_overhead", figures, keep="--keep" in sys.argv[1:])
    return 0 if overhead <= allowance else 1


if __name__ == "__main__":
    sys.exit(main())
