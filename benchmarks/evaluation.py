"""What evaluating a potential costs, beside the engine's own C++ evaluation of the same structures.

The structures are those of the silicon set, then copies of them that are strained and rattled at random, with
a seed (labels do not matter here). The coefficients of the potential are random.

engine   the bare loop: `PyACECalculator.calculate` on structures in memory, one core, nothing kept
ours     `evaluate` from the dataset's shards, on all cores, with all predictions kept as Parquet and summed up

    .venv/bin/python benchmarks/evaluation.py
    .venv/bin/python benchmarks/evaluation.py --sizes 1000 10000 --functions 300

Every measurement is a process of its own. The engine's time is that inside of the loop. Ours is from the first
read of the data to the last sum, without imports; "per core" is that times the number of cores, over the
engine's. CPU is the processor time of all our processes, which other programs on the machine hardly change.
Memory is the largest sum of the resident sizes of our processes, looked at twenty times a second; pages that
they share count once for each. The table goes to standard output; evaluation.json and the data into --output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from own_process import in_own_process
from results import compare
from rich.console import Console
from rich.table import Table

from mlip_train import Campaign
from mlip_train.ace.bbasis import export_yace, load_bbasis
from mlip_train.ace.library import PyACECalculator
from mlip_train.ace.warm_start import write_target
from mlip_train.atoms.structure import Structure
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residual_files import keep_residuals
from mlip_train.evaluation.residuals import evaluate
from mlip_train.evaluation.summary import summarise
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.pacemaker.input_yaml import basis_section
from mlip_train.records.manifest import Split

ROOT = Path(__file__).parent.parent
SEED = 7
LARGEST_STRAIN, RATTLE = 0.02, 0.05  # of a lattice vector; Å
WAYS = ("engine", "ours")


def main() -> int:
    """Prepare the data of each size, measure, print."""
    options = _options()
    if options.step:
        return _step(*options.step)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in options.sizes:
        folder = options.output / f"{size}"
        in_own_process(__file__, "prepare", folder, options.data, size, options.functions)
        found = {}
        for way in WAYS:
            peak, cpu = in_own_process(__file__, way, folder)
            found[way] = {**json.loads((folder / f"{way}.json").read_text()), "peak": peak, "cpu": cpu}
        rows.append({"structures": size, **found, **_ratios(found)})
    content = {"functions": options.functions, "cores": os.cpu_count(), "sizes": rows}
    (options.output / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 110).print(_table(rows, options.functions))
    figures = {}
    for row in rows:
        of = f"{row['structures']} structures, {options.functions} functions"
        figures[f"{of}: time per core over the engine's"] = row["per_core"]
        figures[f"{of}: CPU over the engine's"] = row["of_cpu"]
        figures[f"{of}: peak memory (MB)"] = row["ours"]["peak"] / 1e6
    compare("evaluation", figures, keep=options.keep)
    return 0


def _ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    engine, ours = found["engine"], found["ours"]
    cores = os.cpu_count() or 1
    return {
        "per_core": cores * ours["seconds"] / engine["seconds"],
        "of_cpu": ours["cpu"] / engine["seconds"],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "examples" / "silicon", help="structures")
    parser.add_argument("--functions", type=int, default=300, help="per element")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], help="numbers of structures")
    parser.add_argument("--output", type=Path, default=Path("benchmark_evaluation"), help="a new folder")
    parser.add_argument("--keep", action="store_true", help="keep these results to compare the next ones with")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)  # one measurement, in its own process
    options = parser.parse_args()
    if not options.step and options.output.exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty; give another --output")
    return options


def _table(rows: list[dict[str, Any]], functions: int) -> Table:
    table = Table(title=f"evaluation with {functions} functions per element, {os.cpu_count()} cores")
    headings = ("structures", "way", "s", "CPU s", "per core", "CPU", "peak MB", "above start MB")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for row in rows:
        for way in WAYS:
            found, is_ours = row[way], way == "ours"
            ratios = (f"{row['per_core']:.2f}", f"{row['of_cpu']:.2f}") if is_ours else ("1", "1")
            above = (found["peak"] - found["before"]) / 1e6
            cells = (f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", *ratios, f"{found['peak'] / 1e6:.0f}")
            table.add_row(str(row["structures"]) if not is_ours else "", way, *cells, f"{above:.0f}")
        table.add_section()
    return table


# In a process of its own -----------------------------------------------------------------------------------------


def _step(what: str, *arguments: str) -> int:
    folder = Path(arguments[0])
    match what:
        case "prepare":
            _prepare(folder, Path(arguments[1]), int(arguments[2]), int(arguments[3]))
        case "engine":
            _engine(folder)
        case "ours":
            _ours(folder)
    return 0


def _prepare(folder: Path, data: Path, size: int, functions: int) -> None:
    basis = {"functions_per_element": functions}
    campaign = Campaign.create(folder / "campaign", json.dumps({"elements": ["Si"], "basis": basis}))
    structures = list(islice(_copies(read_batch([data], frame_rules(campaign.config)).structures), size))
    splits: dict[str, Split] = {structure.structure_id: "test" for structure in structures}
    campaign.store.append(structures, splits, 1, {"Si": 0.0}, campaign.config.basis.cutoff)
    bbasis = folder / "potential.yaml"
    write_target(basis_section(campaign.config), bbasis)
    configuration = load_bbasis(bbasis)
    random, n = np.random.default_rng(SEED), len(configuration.get_all_coeffs())
    configuration.set_all_coeffs(list(random.normal(0.0, 0.01, n)))
    configuration.save(str(bbasis))
    export_yace(bbasis, folder / "potential.yace")


def _copies(structures: list[Structure]) -> Iterator[Structure]:
    """The structures themselves, then strained and rattled copies without end."""
    yield from structures
    random = np.random.default_rng(SEED)
    while True:
        for structure in structures:
            change = np.eye(3) + random.uniform(-LARGEST_STRAIN, LARGEST_STRAIN, (3, 3))
            moved = structure.positions @ change + random.normal(0.0, RATTLE, structure.positions.shape)
            yield dataclasses.replace(structure, cell=structure.cell @ change, positions=moved)


def _engine(folder: Path) -> None:
    calculator = PyACECalculator(str(folder / "potential.yace"))
    seconds = 0.0
    for stored in Campaign(folder / "campaign").store.iterate("test"):
        atoms = stored.structure.to_atoms()
        began = time.perf_counter()
        calculator.calculate(atoms)
        seconds += time.perf_counter() - began
    _note(folder, "engine", seconds, 0)


def _ours(folder: Path) -> None:
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    stored = Campaign(folder / "campaign").store.iterate("test")
    residuals = evaluate(Exported.of(folder / "potential.yace", None), (s.structure for s in stored), {"Si": 0.0})
    summarise(keep_residuals(folder / "residuals.parquet", residuals))
    _note(folder, "ours", time.perf_counter() - began, before)


def _note(folder: Path, way: str, seconds: float, before: int) -> None:
    (folder / f"{way}.json").write_text(json.dumps({"seconds": seconds, "before": before}))


if __name__ == "__main__":
    sys.exit(main())
