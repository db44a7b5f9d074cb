"""What retraining costs, generation by generation, from zeros and in our ways.

Five generations of the silicon set (86 structures, then 32 more each time) go through the real flow and
the real engine: zeros on everything, as people do today; our starts on everything; our starts on the
active set; and, with --replay, our starts on what is new and the active set of what is old. All ways see
the same batches and the same fixed test set.

    .venv/bin/python benchmarks/generations.py --data Si_train.extxyz --test Si_test.extxyz
    .venv/bin/python benchmarks/generations.py --small        # minutes, on the shipped silicon data

The target of a generation is the test loss that zeros end with. Per generation and way:

evaluations  iterations until the test loss is at or below the target. The engine looks at the test set
             every few iterations (TEST_EVERY) and at iteration 0: 0 means that the start was there already.
seconds      wall time from calling the flow to that look: reading the data, selection, the linear
             solution and the engine's own start-up are in it.
overhead     wall time of the whole flow minus that of the engine.
CPU          processor time of the whole flow with the engine, which other programs on the machine hardly
             change (they do change wall times).

Tables go to standard output, Prefect's log to standard error; generations.json and generations.png into
--output, which must not hold an earlier run: nothing is resumed. Both are written anew after every
generation, so that an interrupted run leaves what it has measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.io import read, write
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from results import compare
from rich.console import Console
from rich.table import Table

from deployments.local_server import prefect_api
from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.intake.frame_check import frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.intake.reference_energies import pin_reference_energies
from mlip_train.pacemaker.input_yaml import TEST_EVERY
from mlip_train.records.manifest import Split

ROOT = Path(__file__).parent.parent
USUAL_PLACES = (Path(), ROOT / "data", ROOT.parent / "shared" / "data")
SEED = 7
_TEST_SHARD = 1  # takes a number, so that the campaign's generation 2 is our first

# Nothing is left to presets, which change with what is learned about them.
BASIS = {
    "cutoff": 5.0,  # Å
    "embedding": "finnis_sinclair",
    "radial_basis": "SBessel",
    "radial_parameters": [5.25],
    "nradmax_by_orders": [15, 6, 4, 3, 2],
    "lmax_by_orders": [0, 5, 3, 2, 1],
}
COMMON = {
    "elements": ["Si"],
    "loss_weights": {"energy": 0.7, "force": 0.3},
    "test": {"fraction": 0},  # the test set is given
}
OURS = {"first": "linear", "next": "previous"}
WAYS: dict[str, dict[str, Any]] = {
    "zeros": {"start": {"first": "zeros", "next": "zeros"}, "active_set": {"method": "none"}},
    "ours": {"start": OURS, "active_set": {"method": "none"}},
    "ours, active set": {"start": OURS, "active_set": {"method": "maxvol"}},
    "ours, replay": {"start": OURS, "active_set": {"method": "none", "replay": "active_set"}},
}
USUAL_WAYS = ("zeros", "ours", "ours, active set")
COLOURS = {"zeros": "0.45", "ours": "tab:blue", "ours, active set": "tab:orange", "ours, replay": "tab:green"}

_TEST_LOOK = re.compile(r"^(\d\S+ \d\S+) - .*\n-+[A-Z ]*TEST STATS-+\nIteration:\s+#(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Size:
    """How large the benchmark is."""

    first: int  # structures of generation 1
    step: int  # new structures of each later one
    generations: int
    functions: int
    iterations: int

    def __str__(self) -> str:
        return (
            f"{self.generations} generations ({self.first} structures, then +{self.step}), {self.functions} "
            f"functions, cutoff {BASIS['cutoff']} Å, kappa 0.3, at most {self.iterations} iterations"
        )


FULL = Size(first=86, step=32, generations=5, functions=80, iterations=120)
SMALL = Size(first=29, step=20, generations=3, functions=20, iterations=30)


@dataclass
class Run:
    """One generation of one way."""

    way: str
    generation: int
    start: str
    stopped: str
    n_train: int
    n_available: int
    test_iteration: list[int]
    test_loss: list[float]
    test_seconds: list[float]  # since the flow was called
    test_force_rmse: float  # meV/Å, of the published potential
    test_energy_rmse: float  # meV/atom
    wall: float  # s, of the whole flow
    cpu: float  # s of processor time, of the flow and the processes it has waited for
    engine: float  # s
    select: float  # s
    solve: float  # s, of the linear start
    target: float = float("nan")  # test loss that zeros end with
    evaluations: int | None = None  # until the target; None: not reached
    seconds: float | None = None

    @property
    def overhead(self) -> float:
        """Seconds of the flow in which the engine did not run."""
        return self.wall - self.engine

    def reach(self, target: float) -> None:
        """Note when the test loss came down to the target."""
        self.target = target
        looks = zip(self.test_iteration, self.test_loss, self.test_seconds, strict=True)
        there = ((iteration, seconds) for iteration, loss, seconds in looks if loss <= target)
        self.evaluations, self.seconds = next(there, (None, None))


def main() -> int:
    """Run all ways side by side, generation after generation."""
    options = _options()
    size = SMALL if options.small else FULL
    options.output.mkdir(parents=True, exist_ok=True)
    batches, test = _write_data(options, size)
    ways = [*USUAL_WAYS, "ours, replay"] if options.replay else USUAL_WAYS
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{size}; the test set is looked at every {TEST_EVERY} iterations")
    runs: list[Run] = []
    with prefect_api():
        campaigns = {way: _create(options.output / _slug(way), way, size, batches[0], test) for way in ways}
        for batch in batches:
            done = [_train(way, campaign, batch) for way, campaign in campaigns.items()]
            for run in done:
                run.reach(done[0].test_loss[-1])
            runs += done
            console.print(_table(done))
            _write_json(options.output / "generations.json", size, options, runs)
            _draw(options.output / "generations.png", size, runs)
    console.print(_summary(runs))
    console.print(f"written: {options.output / 'generations.json'} and generations.png")
    figures = {}
    for way in ways:
        mine = [run for run in runs if run.way == way]
        reached = [run for run in mine if run.evaluations is not None]
        figures[f"{way}: iterations until all targets"] = float(sum(run.evaluations or 0 for run in reached))
        figures[f"{way}: targets reached (of {len(mine)})"] = float(len(reached))
    name = "generations_small" if options.small else "generations"
    compare(name, figures, keep=options.keep)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="training structures (default: Si_train.extxyz, see --test)")
    parser.add_argument("--test", type=Path, help="test structures (default: Si_test.extxyz beside the data)")
    parser.add_argument("--small", action="store_true", help="minutes: fewer structures, functions, iterations")
    parser.add_argument("--replay", action="store_true", help="a fourth way: what is new and old active ones")
    parser.add_argument("--keep", action="store_true", help="keep these results to compare the next ones with")
    parser.add_argument("--output", type=Path, default=Path("benchmark_generations"), help="a new folder")
    options = parser.parse_args()
    if options.output.exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty; give another --output (nothing is resumed)")
    if options.data is None and not options.small:
        found = [place / "Si_train.extxyz" for place in USUAL_PLACES if (place / "Si_train.extxyz").exists()]
        if not found:
            parser.error("Si_train.extxyz is not in the usual places; give --data FILE, or --small")
        options.data = found[0]
    if options.data is not None and options.test is None:
        beside = options.data.with_name("Si_test.extxyz")
        options.test = beside if beside.exists() else None
    return options


def _write_data(options: argparse.Namespace, size: Size) -> tuple[list[Path], Path]:
    """Write the batches and the test set; without a test set the last structures of the shuffle become it."""
    sources = [options.data] if options.data else sorted((ROOT / "examples" / "silicon").glob("batch_*.extxyz"))
    frames: list[Atoms] = [atoms for source in sources for atoms in read(source, ":")]
    shuffled = [frames[i] for i in np.random.default_rng(SEED).permutation(len(frames))]
    wanted = size.first + size.step * (size.generations - 1)
    if len(shuffled) < wanted + (options.test is None):
        sys.exit(f"{len(shuffled)} structures are too few; {wanted} are trained on and some must be left to test")
    test = read(options.test, ":") if options.test else shuffled[wanted:]
    folder = options.output / "data"
    folder.mkdir()
    ends = [size.first + size.step * n for n in range(size.generations)]
    batches = []
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False), 1):
        batches.append(folder / f"batch_{number}.extxyz")
        write(batches[-1], shuffled[begin:end])
    write(folder / "test.extxyz", test)
    return batches, folder / "test.extxyz"


def _create(root: Path, way: str, size: Size, first: Path, test: Path) -> Campaign:
    """A new campaign whose dataset holds the fixed test set, as the shard before the first batch.

    `test.fraction` cannot name structures. A shard can: it records the split of each of its structures,
    and with a fraction of 0 no later batch adds to the test set.
    """
    config = {
        **COMMON,
        **WAYS[way],
        "basis": {**BASIS, "functions_per_element": size.functions},
        "fit": {"max_epochs": size.iterations, "optimizer": "BFGS", "batch_size": 20},
    }
    campaign = Campaign.create(root, yaml.safe_dump(config, sort_keys=False))
    rules = frame_rules(campaign.config)
    to_learn, to_test = read_batch([first], rules), read_batch([test], rules)
    energies = pin_reference_energies(campaign.config, {}, to_learn.structures, to_learn.isolated_atoms)
    splits: dict[str, Split] = {structure.structure_id: "test" for structure in to_test.structures}
    campaign.store.append(to_test.structures, splits, _TEST_SHARD, energies, campaign.config.basis.cutoff)
    return campaign


def _train(way: str, campaign: Campaign, batch: Path) -> Run:
    """One generation through the flow."""
    called, began, cpu_before = datetime.now(), time.perf_counter(), _cpu_seconds()
    result = train_generation(campaign.root, [batch])
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu_before
    record, run = result.potential.record, campaign.generation(result.potential.generation)
    plan = FitPlan.load(run.plan)
    seconds = dict(_looks(run.log.read_text(), called))
    return Run(
        way=way,
        generation=record.generation - _TEST_SHARD,
        start=str(record.lineage.start),
        stopped=record.convergence,
        n_train=record.lineage.n_train,
        n_available=campaign.store.count("train"),
        test_iteration=list(record.history.test_iteration),
        test_loss=list(record.history.test_loss),
        test_seconds=[seconds[iteration] for iteration in record.history.test_iteration],
        test_force_rmse=record.errors.test.overall.force_rmse,
        test_energy_rmse=record.errors.test.overall.energy_rmse,
        wall=wall,
        cpu=cpu,
        engine=record.seconds["engine"],
        select=json.loads(run.selection.read_bytes())["selection"]["seconds"],
        solve=plan.solution.seconds if plan.solution else 0.0,
    )


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _looks(log: str, since: datetime) -> Iterator[tuple[int, float]]:
    """Iteration and time of each look at the test set, from the engine's log."""
    for stamp, iteration in _TEST_LOOK.findall(log):
        at = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f")
        yield int(iteration), (at - since).total_seconds()


def _table(runs: Sequence[Run]) -> Table:
    zeros = runs[0]
    title = f"generation {zeros.generation}, target: test loss {zeros.target:.5f}"
    table = Table(title=title, title_justify="left")
    for heading in ("way", "structures", "evalu-\nations", "of\nzeros", "seconds", "of\nzeros",
                    "final\ntest loss", "test force\nmeV/Å", "wall s", "CPU s", "over-\nhead s"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for run in runs:
        table.add_row(
            run.way,
            f"{run.n_train} of {run.n_available}",
            _shown(run.evaluations, "d"),
            _share(run.evaluations, zeros.evaluations),
            _shown(run.seconds, ".0f"),
            _share(run.seconds, zeros.seconds),
            f"{run.test_loss[-1]:.5f}",
            f"{run.test_force_rmse:.0f}",
            f"{run.wall:.0f}",
            f"{run.cpu:.0f}",
            f"{run.overhead:.1f}",
        )
    return table


def _summary(runs: Sequence[Run]) -> Table:
    """What a whole campaign costs until each target, per way."""
    table = Table(title="all generations, until each target", title_justify="left")
    for heading in ("way", "evaluations", "seconds", "targets reached", "overhead s"):
        table.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for way in dict.fromkeys(run.way for run in runs):
        mine = [run for run in runs if run.way == way]
        reached = [run for run in mine if run.evaluations is not None]
        table.add_row(
            way,
            str(sum(run.evaluations or 0 for run in reached)),
            f"{sum(run.seconds or 0.0 for run in reached):.0f}",
            f"{len(reached)} of {len(mine)}",
            f"{sum(run.overhead for run in mine):.1f}",
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _share(value: float | None, whole: float | None) -> str:
    return "" if value is None or not whole else f"{value / whole:.2f}"


def _write_json(path: Path, size: Size, options: argparse.Namespace, runs: Sequence[Run]) -> None:
    content = {
        "size": asdict(size),
        "basis": BASIS,
        "common": COMMON,
        "ways": WAYS,
        "seed": SEED,
        "data": str(options.data or "examples/silicon"),
        "test": str(options.test or "held out"),
        "test_every": TEST_EVERY,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "runs": [{**asdict(run), "overhead": run.overhead} for run in runs],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _draw(path: Path, size: Size, runs: Sequence[Run]) -> None:
    """Test loss against wall time, one panel per generation."""
    generations = sorted({run.generation for run in runs})
    figure = Figure(figsize=(3.0 * len(generations) + 0.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(generations), sharey=True, squeeze=False)[0]
    for axes, generation in zip(panels, generations, strict=True):
        mine = [run for run in runs if run.generation == generation]
        for run in mine:
            axes.plot(run.test_seconds, run.test_loss, ".-", color=COLOURS[run.way], label=run.way)
        axes.axhline(mine[0].target, color="0.7", linestyle="--", linewidth=0.8)
        axes.set(title=f"generation {generation}", xlabel="wall time (s)", yscale="log")
        axes.grid(visible=True, alpha=0.2)
    panels[0].set_ylabel("loss on the fixed test set")
    panels[0].legend(frameon=False)
    figure.suptitle(str(size), fontsize="small", wrap=True)
    figure.savefig(path, dpi=130)


def _slug(way: str) -> str:
    return way.replace(",", "").replace(" ", "_")


if __name__ == "__main__":
    sys.exit(main())
