"""What a linear solution of many structures costs, and which part of it what.

    .venv/bin/python benchmarks/solver.py --structures 10000 [--keep]

Structures of the silicon set and copies of them, strained and rattled with a seed; the basis of `standard` with
energies, forces and stress, cross-validation included, on all cores. The labels are those of the originals: they
change nothing of the time. Parts: projections and sums are measured on a sample in this process and multiplied,
the solution is what comes after the last structure, the rest what is left of all cores' time (waiting included).
Memory is the largest sum of the resident sizes of all processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
from results import compare
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from mlip_train.ace.linear_solution import solve_linear_start
from mlip_train.ace.normal_equations import LabelledStructure, RowSum, weighted_rows
from mlip_train.ace.projections import Projector
from mlip_train.ace.warm_start import write_target
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.pacemaker.input_yaml import basis_section

DATA = Path(__file__).parent.parent / "examples" / "silicon" / "batch_1.extxyz"
_LARGEST_STRAIN, _RATTLE, _SEED = 0.02, 0.05, 7  # of a lattice vector; Å
_SAMPLE = 20


def main() -> None:
    """Solve, print the parts, and perhaps keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--keep", action="store_true", help="keep these results as the last ones")
    options = parser.parse_args()
    config, n = CampaignConfig(elements=("Si",)), options.structures
    with tempfile.TemporaryDirectory() as folder, _MemoryWatch() as memory:
        bbasis, done_at = Path(folder) / "basis.yaml", [0.0]
        write_target(basis_section(config), bbasis)

        def on_progress(done: int) -> None:
            done_at[0] = time.monotonic()
            if done % 1000 < 20:
                print(f"{done} of {n} structures after {done_at[0] - began:.0f} s")

        began = time.monotonic()
        solution = solve_linear_start(
            bbasis,
            _labelled(config, options.data, n),
            0.015,
            Path(folder) / "solved.yaml",
            on_progress=on_progress,
        )
        ended = time.monotonic()
        projecting, summing = _sample(Projector(bbasis), list(islice(_labelled(config, options.data, n), _SAMPLE)))
    wall, solving, cores = ended - began, ended - done_at[0], os.cpu_count() or 1
    work = (done_at[0] - began) * cores
    parts = {"projections": n * projecting, "sums": n * summing, "solution": solving * cores}
    parts["rest"] = work + parts["solution"] - sum(parts.values())
    table = Table(title=f"{n} structures, {solution.n_functions} functions: {wall:.0f} s on {cores} cores")
    table.add_column("part")
    table.add_column("share of all cores' time", justify="right")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds / (wall * cores):.0%}")
    Console(soft_wrap=True).print(table)
    of = f"{n} structures"
    figures = {f"{of}: seconds": wall, f"{of}: largest memory (GB)": memory.peak / 1e9}
    figures |= {f"{of}: share of {name}": seconds / (wall * cores) for name, seconds in parts.items()}
    compare("solver", figures, keep=options.keep)


def _labelled(config: CampaignConfig, data: Path, n: int) -> Iterator[LabelledStructure]:
    originals, random = read_batch([data], frame_rules(config)).structures, np.random.default_rng(_SEED)
    for number in range(n):
        one = originals[number % len(originals)]
        if number >= len(originals):
            strain = np.eye(3) + random.uniform(-_LARGEST_STRAIN, _LARGEST_STRAIN, (3, 3))
            places = one.positions @ strain + random.normal(0, _RATTLE, one.positions.shape)
            one = dataclasses.replace(one, positions=places, cell=one.cell @ strain)
        atoms = len(one.numbers)
        yield LabelledStructure(one, one.energy + 5.4 * atoms, 1 / n, np.full(atoms, 1 / (n * atoms)), 1 / n)


def _sample(projector: Projector, sample: list[LabelledStructure]) -> tuple[float, float]:
    """Processor seconds of projecting a structure, and of summing its rows, on one core."""
    projector.design(sample[0].structure)  # warm
    with threadpool_limits(limits=1):
        began = time.process_time()
        rows = [weighted_rows(projector, labelled) for labelled in sample]
        projected = time.process_time()
        sums = [RowSum(sum(projector.n_functions.values())) for _ in range(3)]
        for of_structure in rows:
            for term, weighted in zip(sums, of_structure, strict=True):
                term.add(*weighted)
        for term in sums:
            term.total()
        summed = time.process_time()
    return (projected - began) / len(sample), (summed - projected) / len(sample)


class _MemoryWatch:
    """The largest sum of the resident sizes of this process and its children."""

    def __init__(self) -> None:
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(0.2):
            try:
                self.peak = max(self.peak, sum(p.memory_info().rss for p in (me, *me.children(recursive=True))))
            except psutil.Error:  # one has just ended
                continue


if __name__ == "__main__":
    main()
