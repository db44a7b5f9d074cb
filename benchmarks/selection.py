"""What choosing an active set costs, ours against the engine's.

On the same structures, with the same basis and the same tolerance (1.01), at several multiples of the
silicon set (copies are strained and rattled at random, with a seed; labels do not matter here):

full         our selection of a new dataset: `lay_basis` and `select_structures`, as the flow calls them
incremental  the same after 1 % new structures have come, from the active set of the generation before
engine       what `pace_select` and `pace_activeset` do without batches: `compute_B_projections` of
             everything, then `compute_active_set`

    .venv/bin/python benchmarks/selection.py
    .venv/bin/python benchmarks/selection.py --functions 100 --scales 1 10 50 --data Si_train.extxyz

Every measurement is a process of its own. Time is from the first read of the data to the active set,
without imports. Memory is the largest sum of the resident sizes of that process and all its children
(our workers), looked at twenty times a second; pages that they share count once for each of them. Beside
it stands how much that is above the same process before it began. The kernel's own figure (ru_maxrss, of
the main process alone) is in the JSON. CPU is the processor time of all of them, which other programs on
the machine hardly change (they do change times). The engine is left out where its projections, twice,
would need more than 8 GB.

The table goes to standard output, selection.json and the data into --output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from own_process import in_own_process
from results import compare
from rich.console import Console
from rich.table import Table

from mlip_train import Campaign
from mlip_train.ace.bbasis import export_yace, load_bbasis
from mlip_train.ace.warm_start import write_target
from mlip_train.atoms.structure import Structure
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.selection import select_structures
from mlip_train.fit.starting import lay_basis
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.pacemaker.pickles import write_data
from mlip_train.potential.potential import publish
from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.manifest import Split
from mlip_train.records.potential import Lineage, PotentialRecord, Start, TrainingHistory

ROOT = Path(__file__).parent.parent
USUAL_PLACES = (Path(), ROOT / "data", ROOT.parent / "shared" / "data")
SEED = 7
TOLERANCE = 1.01
NEW_SHARE = 0.01
LARGEST_STRAIN, RATTLE = 0.04, 0.05  # of a lattice vector; Å
MOST_MEMORY = 8e9  # bytes, of the engine's projections

MEASURED = ("full", "incremental", "engine")


def main() -> int:
    """Prepare the data of each scale, measure, print."""
    options = _options()
    if options.step:
        return _step(*options.step)
    options.output.mkdir(parents=True, exist_ok=True)
    console, rows = Console(width=None if sys.stdout.isatty() else 110), []
    for scale in options.scales:
        folder = options.output / f"scale_{scale}"
        in_own_process(__file__, "prepare", folder, options.data, scale, options.functions)
        sizes = json.loads((folder / "sizes.json").read_text())
        found = {what: _measure(what, folder, options, sizes) for what in MEASURED}
        rows.append({"scale": scale, **sizes, **found})
        content = {
            "functions": options.functions,
            "tolerance": TOLERANCE,
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "scales": rows,
        }
        (options.output / "selection.json").write_text(json.dumps(content, indent=1) + "\n")
    console.print(_table(rows, options.functions))
    for line in _conclusions(rows):
        console.print(line)
    figures = {}
    for row in rows:
        of = f"{row['structures']} structures" if "structures" in row else f"{row['scale']} times the data"
        for what in ("seconds", "cpu"):
            figures[f"{of}: {what} of new structures over a full selection"] = (
                row["incremental"][what] / row["full"][what]
            )
        if row["engine"]:
            figures[f"{of}: CPU of a full selection over the engine's"] = row["full"]["cpu"] / row["engine"]["cpu"]
    compare("selection", figures, keep=options.keep)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="structures (default: Si_train.extxyz, else examples/silicon)")
    parser.add_argument("--functions", type=int, default=100, help="per element")
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 10, 50], help="multiples of the data")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement; the fastest counts")
    parser.add_argument("--output", type=Path, default=Path("benchmark_selection"), help="a new folder")
    parser.add_argument("--keep", action="store_true", help="keep these results to compare the next ones with")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)  # one measurement, in its own process
    options = parser.parse_args()
    if options.step:
        return options
    if options.output.exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty; give another --output")
    if options.data is None:
        found = [place / "Si_train.extxyz" for place in USUAL_PLACES if (place / "Si_train.extxyz").exists()]
        options.data = found[0] if found else ROOT / "examples" / "silicon"
    return options


# In the parent ---------------------------------------------------------------------------------------------------


def _measure(what: str, folder: Path, options: argparse.Namespace, sizes: dict[str, int]) -> dict[str, Any] | None:
    """Time, memory and volume of one way; None where it would need too much memory."""
    if what == "engine" and 2 * 8 * sizes["atoms"] * options.functions > MOST_MEMORY:
        return None
    if what == "incremental":
        in_own_process(__file__, "extend", folder)
    attempts = []
    for _ in range(options.repeats):
        peak, cpu = in_own_process(__file__, what, folder)
        found = json.loads((folder / f"{what}.json").read_text())
        attempts.append(found | {"peak": peak, "cpu": cpu - found["cpu_before"]})
    return min(attempts, key=lambda attempt: attempt["seconds"])


def _table(rows: list[dict[str, Any]], functions: int) -> Table:
    table = Table(title=f"active set of {functions} functions, tolerance {TOLERANCE}", title_justify="left")
    headings = ("scale", "structures", "atoms", "way", "s", "CPU s", "projected", "peak\nMB", "above\nstart MB",
                "ln\nvolume")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for row in rows:
        for what in MEASURED:
            place = (
                (f"{row['scale']}x", str(row["structures"]), str(row["atoms"])) if what == "full" else ("",) * 3
            )
            table.add_row(*place, what, *_cells(row[what]))
        table.add_section()
    return table


def _cells(found: dict[str, Any] | None) -> tuple[str, ...]:
    if found is None:
        return ("left out: more than 8 GB",)
    return (
        f"{found['seconds']:.1f}",
        f"{found['cpu']:.1f}",
        str(found["projected"]),
        f"{found['peak'] / 1e6:.0f}",
        f"{(found['peak'] - found['before']) / 1e6:.0f}",
        f"{found['log_volume']:.2f}",
    )


def _conclusions(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        wall, cpu = (row["incremental"][what] / row["full"][what] for what in ("seconds", "cpu"))
        yield f"{row['scale']}x: {row['new']} new structures take {wall:.2f} of a full selection (CPU {cpu:.2f})"
        if row["engine"]:
            more = row["full"]["log_volume"] - row["engine"]["log_volume"]
            yield f"{row['scale']}x: ln volume {more:+.3f} compared with the engine's"


# In a process of its own -----------------------------------------------------------------------------------------


def _step(what: str, *arguments: str) -> int:
    folder = Path(arguments[0])
    match what:
        case "prepare":
            _prepare(folder, Path(arguments[1]), int(arguments[2]), int(arguments[3]))
        case "extend":
            _publish(Campaign(folder / "campaign"))
            _append(Campaign(folder / "campaign"), pd.read_pickle(folder / "new.pckl"), 2)
        case "full":
            _note(folder, what, lambda: _ours(folder, 1))
        case "incremental":
            _note(folder, what, lambda: _ours(folder, 2))
        case "engine":
            _note(folder, what, _engine(folder))
    return 0


def _note(folder: Path, what: str, work: Any) -> None:
    """Run `work`, which returns (log volume, structures projected), and write what it took."""
    before, cpu_before, began = psutil.Process().memory_info().rss, time.process_time(), time.perf_counter()
    log_volume, projected = work()
    content = {
        "seconds": time.perf_counter() - began,
        "log_volume": log_volume,
        "projected": projected,
        "before": before,
        "cpu_before": cpu_before,
        "ru_maxrss": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    (folder / f"{what}.json").write_text(json.dumps(content) + "\n")


def _ours(folder: Path, generation: int) -> tuple[float, int]:
    selection = select_structures(lay_basis(Campaign(folder / "campaign"), generation))
    return sum(selection.log_volume.values()), selection.projected


def _engine(folder: Path) -> Any:
    from pyace.activelearning import compute_active_set, compute_B_projections

    def work() -> tuple[float, int]:
        frame = pd.read_pickle(folder / "engine.pckl.gzip", compression="gzip")
        bbasis = load_bbasis(folder / "basis.yaml")
        projections, indices = compute_B_projections(bbasis, frame["ase_atoms"], list(frame.index))
        active, _ = compute_active_set(projections, indices, tol=TOLERANCE)
        return float(sum(np.linalg.slogdet(matrix)[1] for matrix in active.values())), len(frame)

    return work


def _prepare(folder: Path, data: Path, scale: int, functions: int) -> None:
    """A campaign with the structures as generation 1, the same for the engine, and 1 % that come later."""
    config = {
        "elements": ["Si"],
        "basis": {
            "cutoff": 5.0,
            "functions_per_element": functions,
            "nradmax_by_orders": [15, 6, 4, 3, 2],
            "lmax_by_orders": [0, 5, 3, 2, 1],
        },
        "active_set": {"method": "maxvol", "gamma_tolerance": TOLERANCE},
        "start": {"first": "linear", "next": "previous"},
        "test": {"fraction": 0},
    }
    campaign = Campaign.create(folder / "campaign", yaml.safe_dump(config))
    structures = read_batch([data], frame_rules(campaign.config)).structures
    copies = _copies(structures, scale)
    first = list(islice(copies, scale * len(structures)))
    new = list(islice(copies, max(1, round(NEW_SHARE * len(first)))))
    _append(campaign, first, 1)
    pd.to_pickle(new, folder / "new.pckl")
    write_data(folder / "engine.pckl.gzip", first, {"Si": 0.0})
    write_target(basis_section(campaign.config), folder / "basis.yaml")
    sizes = {"structures": len(first), "atoms": sum(len(s.numbers) for s in first), "new": len(new)}
    (folder / "sizes.json").write_text(json.dumps(sizes) + "\n")


def _copies(structures: list[Structure], scale: int) -> Iterator[Structure]:
    """The structures themselves, then strained and rattled copies without end."""
    yield from structures
    random = np.random.default_rng((SEED, scale))
    while True:
        for structure in structures:
            change = np.eye(3) + random.uniform(-LARGEST_STRAIN, LARGEST_STRAIN, (3, 3))
            moved = structure.positions @ change + random.normal(0.0, RATTLE, structure.positions.shape)
            yield dataclasses.replace(structure, cell=structure.cell @ change, positions=moved)


def _append(campaign: Campaign, structures: list[Structure], generation: int) -> None:
    splits: dict[str, Split] = {structure.structure_id: "train" for structure in structures}
    campaign.store.append(structures, splits, generation, {"Si": 0.0}, campaign.config.basis.cutoff)


def _publish(campaign: Campaign) -> None:
    """Publish generation 1 as a fit that changes no radial functions would leave it."""
    run = campaign.generation(1)
    for potential in (run.fitted_potential, run.closed_potential):
        potential.write_bytes(run.basis.read_bytes())
    export_yace(run.fitted_potential, run.exported_potential)
    unknown = Errors(n_structures=0, n_atoms=0, energy_rmse=0, energy_mae=0, force_rmse=0, force_mae=0)
    errors = SplitErrors(overall=unknown, by_config_type={})
    start, n_train = Start(kind="linear", reason="a benchmark"), campaign.store.count("train")
    plan = FitPlan(
        campaign=campaign.root, config=campaign.config, generation=1, run=run, parent=None, start=start,
        identity="", epochs=0, dataset_hash="", basis_hash="", n_train=n_train, n_test=0,
    )  # fmt: skip
    grade_potential(plan)
    lineage = Lineage(
        start=start,
        parent_sha256=None,
        dataset_hash="",
        config_hash="",
        basis_hash="",
        n_train=0,
        n_test=0,
        engine={},
    )
    record = PotentialRecord(
        generation=1, created=datetime.now(UTC), elements=("Si",), cutoff=campaign.config.basis.cutoff,
        reference_energies={"Si": 0.0}, files={}, lineage=lineage, convergence="not fitted",
        history=TrainingHistory(iteration=(), loss=(), energy_rmse=(), force_rmse=()),
        errors=Evaluation(train=errors, test=None), seconds={},
    )  # fmt: skip
    publish(campaign, run, record)


if __name__ == "__main__":
    sys.exit(main())
