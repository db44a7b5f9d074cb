"""How fast our own projections are, beside the engine's evaluator, and how far from the floor.

    .venv/bin/python benchmarks/projections.py [--structures 8] [--keep]

Silicon, the basis of `standard`, one core, everything in this process and in this run; processor time per atom,
the best of several repetitions, neighbour lists included. The floor is what no solution can do without:
multiplying the rows, and the energy and forces of a whole potential by the engine's two evaluators for MD.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from results import compare
from rich.console import Console
from rich.table import Table
from scipy.linalg.blas import dsyrk
from threadpoolctl import threadpool_limits

from mlip_train.ace.bbasis import export_yace, load_bbasis
from mlip_train.ace.evaluators import CompiledEvaluator, EngineEvaluator
from mlip_train.ace.library import ACEBBasisSet, PyACECalculator
from mlip_train.ace.warm_start import write_target
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.pacemaker.input_yaml import basis_section

DATA = Path(__file__).parent.parent / "examples" / "silicon" / "batch_1.extxyz"
_REPETITIONS = 5


def main() -> None:
    """Measure every way once warm, print and perhaps keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=8)
    parser.add_argument("--keep", action="store_true", help="keep these results as the last ones")
    options = parser.parse_args()
    config = CampaignConfig(elements=("Si",))
    structures = read_batch([DATA], frame_rules(config)).structures
    chosen = [s for s in structures if len(s.numbers) > 50][: options.structures]
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory() as folder:
        bbasis = Path(folder) / "basis.yaml"
        write_target(basis_section(config), bbasis)
        ways = _ways(bbasis)
        n_atoms = sum(len(s.numbers) for s in chosen)
        seconds = {name: 1e6 * _least(way, chosen) / n_atoms for name, way in ways.items()}
    table = Table(title=f"{len(chosen)} structures of silicon, {n_atoms} atoms, one core")
    table.add_column("what")
    table.add_column("µs per atom", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.0f}")
    Console(soft_wrap=True).print(table)
    engine, ours = seconds["the engine's evaluator, energies and forces"], seconds["ours, with forces and virials"]
    figures = {
        "times as fast as the engine, energies and forces (ours with virials)": engine / ours,
        "times as fast as the engine, projections alone": seconds["the engine's evaluator, projections alone"]
        / seconds["ours, projections alone"],
        "times the floor: multiplying the rows": ours / seconds["multiplying the rows"],
        "times the floor: energy and forces in MD": ours / seconds["energy and forces in MD, recursive"],
    }
    compare("projections", figures, keep=options.keep)


def _ways(bbasis: Path) -> dict[str, Callable[[object], object]]:
    basis = ACEBBasisSet(load_bbasis(bbasis))
    ours, engine = CompiledEvaluator(basis), EngineEvaluator(basis)
    yace = bbasis.with_suffix(".yace")
    export_yace(bbasis, yace)
    product = PyACECalculator(str(yace))
    recursive = PyACECalculator(str(yace), recursive_evaluator=True, recursive=True)
    made: dict[int, np.ndarray] = {}

    def multiply(structure: object) -> object:
        n = len(structure.numbers)
        rows = made.setdefault(n, np.asfortranarray(np.random.default_rng(n).random((3 * n + 7, 1000))))
        return dsyrk(1.0, rows, trans=1, lower=1)

    return {
        "the engine's evaluator, energies and forces": engine.energy_and_force_rows,
        "the engine's evaluator, projections alone": engine.projections,
        "ours, with forces and virials": ours.rows,
        "ours, projections alone": ours.projections,
        "multiplying the rows": multiply,
        "energy and forces in MD": lambda structure: product.calculate(structure.to_atoms()),
        "energy and forces in MD, recursive": lambda structure: recursive.calculate(structure.to_atoms()),
    }


def _least(way: Callable[[object], object], structures: list[object]) -> float:
    """Processor seconds for all structures, each at its best."""
    total = 0.0
    for structure in structures:
        way(structure)  # warm
        spent = []
        for _ in range(_REPETITIONS):
            began = time.process_time()
            way(structure)
            spent.append(time.process_time() - began)
        total += min(spent)
    return total


if __name__ == "__main__":
    main()
