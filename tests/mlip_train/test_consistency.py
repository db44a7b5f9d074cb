"""Files that are not what was trained are noticed, on a real linear potential."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.checking import check_fit
from mlip_train.consistency import check_consistency, trainer_difference
from mlip_train.deployment import Deployment, deploy_fit
from mlip_train.errors import EngineError, InconsistentPotentialError
from mlip_train.generation import finish_linear
from mlip_train.grading import grade_potential
from mlip_train.lammps_run import LammpsComparison
from mlip_train.measuring import evaluate_fit
from mlip_train.pacemaker.bbasis import export_yace, load_bbasis
from mlip_train.planning import FitPlan
from tests.mlip_train.bbasis import tune
from tests.mlip_train.planning import planned

CORE = {"kind": "zbl", "mode": "core"}


class Fitted(NamedTuple):
    plan: FitPlan
    deployment: Deployment


@pytest.fixture(scope="module")
def campaign(
    tmp_path_factory: pytest.TempPathFactory,
    campaign_text: Callable[..., str],
    write_frames: Callable[[Path, int, int], Path],
) -> Campaign:
    root = tmp_path_factory.mktemp("consistency")
    made = Campaign.create(root / "si", campaign_text(fit={"max_epochs": 0}, reference=CORE))
    accumulate(made, [write_frames(root / "silicon.extxyz", 0, 14)])
    return made


@pytest.fixture
def fitted(campaign: Campaign) -> Fitted:
    plan = planned(campaign, 1)
    finish_linear(plan)
    deployment = deploy_fit(plan)
    grade_potential(campaign, 1, 1.01)
    return Fitted(plan, deployment)


def consistency(fitted: Fitted, lammps: LammpsComparison | None = None) -> Check:
    return check_consistency(fitted.plan, fitted.deployment, evaluate_fit(fitted.plan), lambda: lammps)


def test_what_was_trained_and_deployed_agrees(fitted: Fitted) -> None:
    check = consistency(fitted)
    assert check.passed
    assert check.numbers["trainer_eV_per_atom"] < 1e-9
    assert check.numbers["files_force_eV_per_A"] < 1e-9
    assert check.notes == ("LAMMPS was not compared: no lmp with ML-PACE is on the PATH",)


def test_a_yace_of_another_generation_is_caught(fitted: Fitted, tmp_path: Path) -> None:
    run = fitted.plan.run
    other = load_bbasis(run.deployed_potential)
    other.set_all_coeffs([1.01 * coefficient for coefficient in other.get_all_coeffs()])
    other.save(str(tmp_path / "other.yaml"))
    export_yace(tmp_path / "other.yaml", run.exported_potential)
    check = consistency(fitted)
    assert check.passed is False
    assert "the exported potential and the trainer differ by" in check.told
    assert "deployed_potential.yaml and deployed_potential.yace differ by" in check.told
    assert "deployed_potential.yace is not what fitted_potential.yaml becomes" in check.told


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-40])])
def test_a_yace_that_is_gone_or_cut_off_is_named(fitted: Fitted, damage: Callable[[Path], object]) -> None:
    evaluation = evaluate_fit(fitted.plan)
    damage(fitted.plan.run.exported_potential)
    with pytest.raises(EngineError, match=r"deployed_potential\.yace is not a readable potential: .* again"):
        next(check_fit(fitted.plan, fitted.deployment, evaluation))


def test_a_core_that_was_altered_below_all_data_is_caught(fitted: Fitted) -> None:
    run = fitted.plan.run
    tune(run.deployed_potential, core_rep_parameters=[0.0, 1.0])
    export_yace(run.deployed_potential, run.exported_potential)
    check = consistency(fitted)
    assert check.numbers["trainer_eV_per_atom"] < 1e-9  # the data know nothing of it
    assert check.passed is False
    assert "deployed_potential.yaml is not what fitted_potential.yaml becomes" in check.told


def test_a_trainer_that_predicts_something_else_is_caught(fitted: Fitted) -> None:
    run = fitted.plan.run
    table = pd.read_pickle(run.train_predictions, compression="gzip")
    table["energy_pred"] = [energy + 1e-3 for energy in table["energy_pred"]]
    table.to_pickle(run.train_predictions, compression="gzip")
    check = consistency(fitted)
    assert check.passed is False
    assert "the exported potential and the trainer differ by" in check.told


@pytest.mark.parametrize(("energy", "force", "passed"), [(1e-7, 1e-7, True), (2e-5, 0, False), (0, 2e-5, False)])
def test_lammps_is_told_and_counts(fitted: Fitted, energy: float, force: float, passed: bool) -> None:
    check = consistency(fitted, LammpsComparison(Path("/usr/bin/lmp"), energy, force))
    assert check.passed is passed
    assert check.numbers["lammps_force_eV_per_A"] == force
    assert "LAMMPS (/usr/bin/lmp)" in check.notes[0]
    assert ("LAMMPS" in check.told) is not passed


def test_a_lammps_that_fails_is_a_failure(fitted: Fitted) -> None:
    def fail() -> None:
        raise EngineError("lmp could not compute a structure")

    check = check_consistency(fitted.plan, fitted.deployment, evaluate_fit(fitted.plan), fail)
    assert check.passed is False
    assert check.told == "lmp could not compute a structure"


@pytest.mark.parametrize("offset", [0.0, 0.5e-5, 1.0])
def test_the_difference_to_the_trainer_is_the_largest(tmp_path: Path, offset: float) -> None:
    energies = [np.array([-8.0]), np.array([-16.0 + 8 * offset])]
    pd.DataFrame({"name": ["one", "two"], "energy_pred": energies}).to_pickle(
        tmp_path / "pred", compression="gzip"
    )
    exported = {"one": (-8.0, 8), "two": (-16.0, 8), "a test structure": (1.0, 2)}
    found = trainer_difference(tmp_path / "pred", exported)
    assert found.energy == pytest.approx(offset)
    assert found.structure_id == ("two" if offset else "one")


@pytest.mark.parametrize(("energy", "told"), [(np.nan, "not finite for structure x"), (np.inf, "not finite")])
def test_a_trainer_that_predicts_no_number_is_an_error(tmp_path: Path, energy: float, told: str) -> None:
    pd.DataFrame({"name": ["x"], "energy_pred": [energy]}).to_pickle(tmp_path / "pred", compression="gzip")
    with pytest.raises(InconsistentPotentialError, match=told):
        trainer_difference(tmp_path / "pred", {"x": (1.0, 1)})


def test_a_trainer_that_saw_other_structures_is_an_error(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["x"], "energy_pred": [1.0]}).to_pickle(tmp_path / "pred", compression="gzip")
    with pytest.raises(InconsistentPotentialError, match="none of the training structures"):
        trainer_difference(tmp_path / "pred", {"one": (1.0, 1)})
