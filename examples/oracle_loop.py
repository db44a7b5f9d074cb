"""Active learning of copper in one flow: label, train, explore, pick what is new, label that, and so on.

    .venv/bin/python examples/oracle_loop.py copper
    .venv/bin/python examples/oracle_loop.py copper_xtb --oracle tblite     # needs: pip install tblite

It begins with a few crystals as they are at 300 K, and the potential has to drive ever hotter and wider ones.
Every generation explores in the same way, so the largest extrapolation grade that it meets tells what was
learned. The snapshots go to copper_explored/. After an interruption the same command goes on.
"""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
import typer
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from prefect import flow, task

from deployments.local_server import prefect_api
from flows.train_generation import train_generation
from mlip_train import Campaign, Potential
from tasks.accumulate import stage_dft_results

CONFIG = """\
elements: [Cu]
preset: quick
basis: {functions_per_element: 40}   # few, for minutes on two cores
fit: {max_epochs: 20}
reference: {kind: zbl, mode: core}   # keeps atoms apart that MD drives together
gate: {on: []}   # the first test structures are nearly perfect crystals; learning heat costs accuracy there
"""
EXPLORED = ((300, 3.60), (600, 3.62), (900, 3.64), (1200, 3.66))  # K, lattice constant in Å
STEPS, LOOK_EVERY = 400, 5  # of 5 fs
NEW, TOO_NEW = 2.0, 25.0  # extrapolation grades: worth a label; MD is not to be trusted any more
PICKED_PER_RUN = 3


class Exploration(NamedTuple):
    """Snapshots of molecular dynamics, and the largest extrapolation grade in each."""

    snapshots: Path
    gamma: list[float]


class Generation(NamedTuple):
    """What a generation came to."""

    potential: Path
    n_new: int  # structures
    largest_gamma: float  # of all runs
    n_stopped: int  # runs


@flow(name="oracle-loop")
def oracle_loop(campaign: Path, oracle: str = "emt", generations: int = 3) -> list[Generation]:
    """Train generation after generation, until exploring meets nothing new.

    Parameters
    ----------
    campaign
        Directory of the campaign; made if there is none.
    oracle
        emt, tblite, or a `module:function` that returns an ASE calculator.
    generations
        How many to train at most.
    """
    if not campaign.exists():
        Campaign.create(campaign, CONFIG)
    explored = Path(f"{campaign}_explored")
    done: list[Generation] = []
    structures: Path | None = rattled_crystals(explored / "rattled.traj")
    while structures and len(done) < generations:
        labelled = label(structures, oracle)
        result = train_generation(campaign, [labelled])
        assert result.potential is not None  # the new one, or the current one when all was known already
        here = explored / result.potential.path.stem
        runs = [explore(result.potential.path, *conditions, here) for conditions in EXPLORED]
        gamma = [max(run.gamma) for run in runs]
        n_stopped = sum(grade > TOO_NEW for grade in gamma)
        done.append(Generation(result.potential.path, result.batch.n_new, max(gamma), n_stopped))
        structures = pick(runs, here / "picked.traj")
    return done


@task
def rattled_crystals(path: Path) -> Path:
    """Write the structures to begin with: few, and displaced as much as at 300 K."""
    random = np.random.default_rng(1)
    crystals = [bulk("Cu", a=3.60, cubic=True).repeat(2) for _ in range(4)]
    for atoms in crystals:
        atoms.rattle(0.08, rng=random)
    return write(path, crystals)


@task
def label(structures: Path, oracle: str) -> Path:
    """Let the oracle compute. With DFT this would be a task per structure, with retries."""
    frames = list(ase.io.iread(structures))
    for atoms in frames:
        atoms.calc = calculator(oracle)
        atoms.get_forces()  # all results, total energy included, are staged with the atoms
    return stage_dft_results(frames)


@task(task_run_name="explore {kelvin} K")
def explore(potential: Path, kelvin: int, lattice: float, folder: Path) -> Exploration:
    """Run MD with the potential, which grades every atom, and stop where it only guesses."""
    random = np.random.default_rng(2)
    atoms = bulk("Cu", a=lattice, cubic=True).repeat(2)
    atoms.calc = Potential.load(potential).calculator()
    thermalize_momenta(atoms, 2 * kelvin, rng=random)  # half of it becomes potential energy
    md = Langevin(atoms, 5 * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, fixcm=False, rng=random)
    snapshots, gamma = [], []
    for _ in md.irun(STEPS):
        if md.nsteps % LOOK_EVERY == 0:
            snapshots.append(atoms.copy())
            gamma.append(float(atoms.calc.results["gamma"].max()))
            if gamma[-1] > TOO_NEW:
                break
    return Exploration(write(folder / f"{kelvin}K.traj", snapshots), gamma)


@task
def pick(runs: list[Exploration], path: Path) -> Path | None:
    """Write few structures that differ: of the new ones of each run the newest early, midway and late."""
    picked: list[Atoms] = []
    for run in runs:
        frames = list(ase.io.iread(run.snapshots))
        new = [index for index, grade in enumerate(run.gamma) if grade > NEW]
        parts = [part for part in np.array_split(new, PICKED_PER_RUN) if len(part)]
        picked += [frames[max(part, key=run.gamma.__getitem__)] for part in parts]
    return write(path, picked) if picked else None


def calculator(oracle: str) -> Any:
    """Make the ASE calculator that labels."""
    if oracle == "emt":
        return EMT()
    if oracle == "tblite":
        from tblite.ase import TBLite

        return TBLite(method="GFN1-xTB", verbosity=0)
    return pkgutil.resolve_name(oracle)()


def write(path: Path, frames: list[Atoms]) -> Path:
    """Write structures and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, frames)
    return path


def main(campaign: Path, oracle: str = "emt", generations: int = 3) -> None:
    """Learn copper actively in CAMPAIGN. The oracle is emt, tblite, or a module:function (ASE calculator)."""
    with prefect_api():  # the configured server, or the local one
        done = oracle_loop(campaign, oracle, generations)
    print("\npotential          new structures   largest gamma   runs stopped", file=sys.stderr)
    for potential, n_new, gamma, n_stopped in done:
        print(f"{potential.stem}   {n_new:14}   {gamma:13.1f}   {n_stopped:7} of {len(EXPLORED)}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
