"""The checks of a deployed potential, from the files themselves to what MD makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.consistency import check_consistency
from mlip_train.deployed import deployed_calculator
from mlip_train.deployment import Deployment
from mlip_train.evaluation import Evaluation
from mlip_train.files import write_atomically
from mlip_train.lammps import lammps_include
from mlip_train.lammps_run import LammpsComparison, compare_with_lammps, find_lammps
from mlip_train.physics.dimer import check_dimer
from mlip_train.physics.nve import check_nve, choose_start
from mlip_train.physics.symmetry import check_symmetry
from mlip_train.physics.volume import check_volume
from mlip_train.planning import FitPlan
from mlip_train.selection import chosen_structures
from mlip_train.structures import Structure

__all__ = ["check_fit"]


def check_fit(plan: FitPlan, deployment: Deployment, evaluation: Evaluation) -> Iterator[Check]:
    """Make the checks that the campaign asks for, one after the other; judging them is the gate's part.

    Structures to try the potential on come from the test set; where there is none, from those of the fit.
    """
    physics, run = plan.config.physics, plan.run
    calculator = deployed_calculator(run.exported_potential, plan.baseline)
    structures = _structures(plan)
    yield check_consistency(plan, deployment, evaluation, _in_lammps(plan, deployment, calculator))
    if physics.dimer:
        yield check_dimer(deployment, run.check_picture("dimer"))
    if physics.volume:
        stored = Campaign(plan.campaign).store.iterate()
        yield check_volume(calculator, (row.structure for row in stored))
    if physics.symmetry:
        yield check_symmetry(calculator, structures())
    if physics.nve is not None:
        grading = deployed_calculator(run.deployed_potential, plan.baseline, run.inverse_active_set)
        yield check_nve(calculator, grading, choose_start(structures()), physics.nve, plan.config.basis.cutoff)


def _structures(plan: FitPlan) -> Callable[[], Iterator[Structure]]:
    campaign = Campaign(plan.campaign)
    if plan.n_test:
        return lambda: (stored.structure for stored in campaign.store.iterate("test"))
    return chosen_structures(campaign, plan.run)


def _in_lammps(plan: FitPlan, deployment: Deployment, calculator: Any) -> Callable[[], LammpsComparison | None]:
    """Compare one structure with LAMMPS, if there is one that knows ACE."""

    def compare() -> LammpsComparison | None:
        program = find_lammps()
        if program is None:
            return None
        exported, reference = plan.run.exported_potential, deployment.reference
        (structure,) = islice(_structures(plan)(), 1)
        with tempfile.TemporaryDirectory() as folder:
            include = Path(folder) / exported.with_suffix(".lmp").name
            elements = plan.config.elements
            text = lammps_include(exported.stem, elements, reference.baseline, reference.switches)
            write_atomically(include, text)
            return compare_with_lammps(program, [include, exported], elements, structure.to_atoms(), calculator)

    return compare
