"""What only the real engine can show."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron

from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.command import find_engine
from tests.engine.residuals import loss
from tests.mlip_train.planning import planned

pytestmark = [pytest.mark.usefixtures("real_engine")]

MakeCampaign = Callable[..., Campaign]


def copper_gold(n: int) -> list:
    """Disordered Cu-Au cells, and some of each pure metal, labelled with EMT."""
    random = np.random.default_rng(7)
    frames = []
    for index in range(n):
        atoms = bulk(("Cu", "Au")[index % 2], "fcc", a=random.uniform(3.7, 4.1), cubic=True).repeat((2, 2, 1))
        if index % 4 > 1:
            atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = "Au"
        atoms.rattle(0.1, rng=random)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "mixed" if index % 4 > 1 else "pure"
        frames.append(atoms)
    return frames


@pytest.mark.usefixtures("prefect_server")
def test_training_does_what_doing_nothing_cannot(
    make_campaign: MakeCampaign, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign(real_engine=True, fit={"max_epochs": 30}, test={"fraction": 0.25})
    result = train_generation(campaign.root, [write_batch(0, 12)])
    forces = np.concatenate([row.structure.forces for row in campaign.store.iterate("test")])
    error_of_nothing = 1e3 * np.sqrt((forces**2).mean())
    assert result.potential is not None
    assert result.potential.errors.test is not None
    assert result.potential.errors.test.overall.force_rmse < 0.5 * error_of_nothing


@pytest.mark.usefixtures("prefect_server")
def test_two_elements(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "alloys.traj", copper_gold(16))
    campaign = make_campaign(
        real_engine=True,
        elements=["Au", "Cu"],
        basis={"cutoff": 5.0, "functions_per_element": 12, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1]},
        fit={"max_epochs": 25},
        test={"fraction": 0.25},
    )
    result = train_generation(campaign.root, [tmp_path / "alloys.traj"])
    assert result.potential is not None
    record = result.potential.record
    assert record.elements == ("Au", "Cu")
    assert set(record.reference_energies) == {"Au", "Cu"}
    assert record.errors.test is not None
    assert set(record.errors.test.by_config_type) == {"mixed", "pure"}
    forces = np.concatenate([row.structure.forces for row in campaign.store.iterate("test")])
    assert record.errors.test.overall.force_rmse < 0.5 * 1e3 * np.sqrt((forces**2).mean())


@pytest.mark.usefixtures("prefect_server")
def test_clusters_beside_bulk(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    frames = [atoms for atoms in copper_gold(12) if set(atoms.symbols) == {"Cu"}]
    for _ in range(6):
        cluster = Icosahedron("Cu", 2)
        cluster.rattle(0.1, rng=random)
        cluster.calc = EMT()
        results = {"energy": cluster.get_potential_energy(), "forces": cluster.get_forces()}
        cluster.calc = SinglePointCalculator(cluster, **results)
        frames.append(cluster)
    ase.io.write(tmp_path / "copper.traj", frames)
    campaign = make_campaign(real_engine=True, elements=["Cu"], fit={"max_epochs": 5}, test={"fraction": 0.2})
    result = train_generation(campaign.root, [tmp_path / "copper.traj"])
    assert result.potential is not None
    assert result.batch.n_new == len(frames)
    assert result.potential.record.checks[0].numbers["trainer_eV_per_atom"] < 1e-5


@pytest.mark.usefixtures("prefect_server")
def test_a_ladder_is_climbed_and_then_continued_whole(
    make_campaign: MakeCampaign, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign(
        real_engine=True,
        basis={
            "cutoff": 4.5, "functions_per_element": 6, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1],
            "ladder_step": 3,
        },
        start={"first": "zeros"},
        fit={"max_epochs": 5},
        test={"fraction": 0.2},
    )  # fmt: skip
    first = train_generation(campaign.root, [write_batch(0, 6)]).potential
    second = train_generation(campaign.root, [write_batch(6, 9)]).potential
    assert first is not None
    assert second is not None
    history = first.record.history
    assert len(history.iteration) == 2 * 6  # two steps, each with its iteration 0
    assert set(history.test_iteration) <= set(history.iteration)
    rows = [row.structure for row in campaign.store.iterate("train")]
    expected = loss(first, rows, campaign.config.loss_weights.kappa)
    assert second.record.history.loss[0] == pytest.approx(expected, rel=1e-3)
    assert second.record.history.iteration[-1] == 5


@pytest.mark.usefixtures("prefect_server")
def test_energy_based_weights_and_early_stopping(
    make_campaign: MakeCampaign, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign(
        real_engine=True,
        fit={
            "max_epochs": 60,
            "weighting": {
                "kind": "energy_based",
                "energy_zero": "cohesive",
                "low_window": 0.1,
                "upper_limit": 0.3,
            },
            "early_stopping": {"min_relative_change": 0.5, "patience": 3},
        },
        test={"fraction": 0.1},
    )
    potential = train_generation(campaign.root, [write_batch(0, 20)]).potential
    assert potential is not None
    assert 1 <= potential.record.history.iteration[-1] < 60
    log = campaign.generation(1).log.read_text()
    assert "EARLY STOPPING" in log
    assert "energy reference frame - cohesive energy" in log


def test_the_engine_reads_the_input_as_it_was_meant(
    make_campaign: MakeCampaign, write_batch: Callable[[int, int], Path]
) -> None:
    campaign = make_campaign(
        real_engine=True,
        reference_energies={"Si": -1e-05},
        fit={"max_epochs": 7, "l2_regularization": 1e-08, "early_stopping": {"min_relative_change": 1e-05}},
        extra={"fit": {"fit_cycles": 2}, "backend": {"gpu_config": {"gpu_ind": -1}}},
    )
    accumulate(campaign, [write_batch(0, 5)])
    plan = planned(campaign, 1)
    plan.run.scratch.mkdir()

    command = [*find_engine(["pacemaker"]), "-dr", str(plan.run.input_yaml)]
    done = subprocess.run(command, cwd=plan.run.scratch, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "target_potential.yaml" in {p.name for p in plan.run.scratch.iterdir()}
    seen = pd.read_pickle(plan.run.scratch / "fitting_data_info.pckl.gzip", compression="gzip")
    assert len(seen) == plan.n_train
    given = {row.structure.structure_id: row.structure for row in campaign.store.iterate("train")}
    for name, corrected in zip(seen["name"], seen["energy_corrected"], strict=True):
        expected = given[name].energy + 1e-05 * len(given[name].numbers)
        assert corrected == pytest.approx(expected, abs=1e-9)
    assert "-1e-05/iter" in done.stderr.replace("-1.00e-05", "-1e-05")
    assert "unknown" not in done.stderr.lower()
    shutil.rmtree(plan.run.scratch)
