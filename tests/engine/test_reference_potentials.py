"""Campaigns with reference potentials on the real engine, whose trainer knows nothing of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from flows.train_generation import train_generation
from mlip_train import Campaign, Potential
from tests.mlip_train.alloys import aluminium_nickel, write_frames
from tests.mlip_train.planning import edit
from tests.mlip_train.squeezed import squeezed

pytestmark = [pytest.mark.usefixtures("real_engine", "prefect_server")]

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]

BASIS = {"cutoff": 5.0, "functions_per_element": 30, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2]}
CORE = {"kind": "zbl", "mode": "core"}
DELTA = {"kind": "zbl", "mode": "delta"}
FAR = {**DELTA, "pairs": {"Si-Si": {"inner": 1.1, "outer": 2.8}}}  # within the data
TRAINED = {"max_epochs": 4}
LJ = {"kind": "lj", "cutoff": 4.5, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": 2.0}}}


@pytest.fixture
def make(make_campaign: MakeCampaign) -> Callable[..., Campaign]:
    """Makes a campaign; where a second generation is the subject, the first is the linear solution."""

    def made(reference: dict[str, Any], max_epochs: int = 0) -> Campaign:
        fit = {"max_epochs": max_epochs}
        return make_campaign(real_engine=True, basis=BASIS, fit=fit, test={"fraction": 0}, reference=reference)

    return made


def train(campaign: Campaign, batch: Path) -> Potential:
    potential = train_generation(campaign.root, [batch]).potential
    assert potential is not None
    return potential


def dimer(potential: Potential, pair: str, distances: list[float]) -> list[float]:
    calculator, energies = potential.calculator(), []
    for r in distances:
        calculator.calculate(Atoms(pair.split("-"), positions=[[0, 0, 0], [0, 0, r]]))
        energies.append(float(calculator.results["energy"]))
    return energies


def check(campaign: Campaign, potential: Potential) -> None:
    """The published sum is what the trainer predicts plus the baseline, and it repels at short distance."""
    run, calculator = campaign.generation(potential.generation), potential.calculator()
    predicted = pd.read_pickle(run.train_predictions, compression="gzip").set_index("name")["energy_pred"]
    for row in campaign.store.iterate("train"):
        atoms = row.structure.to_atoms()
        added = potential.baseline.compute(atoms).energy if potential.baseline else 0.0
        calculator.calculate(atoms)
        trained = float(np.ravel(predicted[row.structure.structure_id])[0])
        assert abs(calculator.results["energy"] - trained - added) / len(atoms) < 1e-5
    assert potential.record.checks[0].numbers["trainer_eV_per_atom"] < 1e-5
    for pair, switch in potential.record.lineage.reference.switches.items():
        distances = np.arange(0.4, switch.outer, 0.02)
        assert (np.diff(dimer(potential, pair, distances.tolist())) < 0).all()
        assert dimer(potential, pair, [0.5])[0] > 300


def test_a_core_is_taken_off_and_set_again_closer(
    make: Callable[..., Campaign], write_batch: WriteBatch, silicon: list[Atoms], tmp_path: Path
) -> None:
    campaign = make(CORE)
    first = train(campaign, write_batch(0, 10))
    check(campaign, first)
    edit(campaign, fit=TRAINED)
    second = train(campaign, squeezed(tmp_path / "closer.extxyz", silicon, 1.5, first))
    check(campaign, second)
    assert second.record.lineage.start.kind == "previous"
    outer = [p.record.lineage.reference.switches["Si-Si"].outer for p in (first, second)]
    assert outer[1] == pytest.approx(1.49, abs=1e-6)
    assert outer[0] == pytest.approx(0.8 * 2.22)


def test_a_difference_is_continued(make: Callable[..., Campaign], write_batch: WriteBatch) -> None:
    campaign = make(FAR)
    check(campaign, train(campaign, write_batch(0, 10)))
    edit(campaign, fit=TRAINED)
    second = train(campaign, write_batch(10, 14))
    check(campaign, second)
    assert second.record.lineage.start.kind == "previous"


def test_a_difference_to_lennard_jones(make: Callable[..., Campaign], write_batch: WriteBatch) -> None:
    campaign = make(LJ, **TRAINED)
    check(campaign, train(campaign, write_batch(0, 10)))


def test_a_core_can_be_added_to_a_campaign_without(make: Callable[..., Campaign], write_batch: WriteBatch) -> None:
    campaign = make({"kind": "none"})
    first = train(campaign, write_batch(0, 10))
    check(campaign, first)
    edit(campaign, reference=CORE, fit=TRAINED)
    second = train(campaign, write_batch(10, 14))
    check(campaign, second)
    assert second.record.lineage.start.kind == "previous"
    assert (first.record.lineage.reference.kind, second.record.lineage.reference.kind) == ("none", "zbl")


# a core is not in what the engine is given, so that the solver shows as much
@pytest.mark.parametrize(("reference", "max_epochs"), [(CORE, 0), (DELTA, 2)], ids=["core", "delta"])
def test_every_pair_of_an_alloy_repels(
    make_campaign: MakeCampaign, tmp_path: Path, reference: dict[str, Any], max_epochs: int
) -> None:
    campaign = make_campaign(
        real_engine=True,
        elements=["Al", "Ni"],
        basis=BASIS,
        fit={"max_epochs": max_epochs},
        test={"fraction": 0},
        reference=reference,
    )
    potential = train(campaign, write_frames(tmp_path / "alloy.extxyz", aluminium_nickel(24)))
    assert set(potential.record.lineage.reference.switches) == {"Al-Al", "Al-Ni", "Ni-Ni"}
    check(campaign, potential)
