"""Files that are not what was trained are noticed, on a real linear potential."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlip_train.ace.bbasis import export_yace, load_bbasis
from mlip_train.assess.checking import check_fit
from mlip_train.assess.consistency import check as the_check
from mlip_train.assess.consistency import trainer_difference
from mlip_train.assess.lammps_run import LammpsComparison
from mlip_train.assess.measuring import evaluate_fit
from mlip_train.assess.subject import Subject
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import EngineError, InconsistentPotentialError
from mlip_train.evaluation.residual_files import SCHEMA
from mlip_train.fit.closing import close_fit
from mlip_train.fit.grading import grade_potential
from mlip_train.intake.accumulation import accumulate
from mlip_train.records.checks import Check
from tests.mlip_train.bbasis import tune
from tests.mlip_train.planning import solved
from tests.mlip_train.references import CORE


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
def fitted(campaign: Campaign) -> Subject:
    plan = solved(campaign, 1)
    closed = close_fit(plan)
    grade_potential(plan)
    evaluate_fit(plan)
    return Subject(plan, closed)


def consistency(fitted: Subject, lammps: LammpsComparison | EngineError | None = None) -> Check:
    """What is found after an evaluation, with what LAMMPS is said to find."""

    def compare(_: Subject) -> LammpsComparison | None:
        if isinstance(lammps, EngineError):
            raise lammps
        return lammps

    evaluate_fit(fitted.plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlip_train.assess.consistency.compare_in_lammps", compare)
        return the_check(fitted, True)


def test_what_was_trained_and_deployed_agrees(fitted: Subject) -> None:
    check = consistency(fitted)
    assert check.passed
    assert check.numbers["trainer_eV_per_atom"] < 1e-9
    assert check.numbers["files_force_eV_per_A"] < 1e-9
    assert check.notes == ("LAMMPS was not compared: no lmp with ML-PACE is on the PATH",)


def test_a_yace_of_another_generation_is_caught(fitted: Subject, tmp_path: Path) -> None:
    run = fitted.plan.run
    other = load_bbasis(run.closed_potential)
    other.set_all_coeffs([1.01 * coefficient for coefficient in other.get_all_coeffs()])
    other.save(str(tmp_path / "other.yaml"))
    export_yace(tmp_path / "other.yaml", run.exported_potential)
    check = consistency(fitted)
    assert check.passed is False
    assert "the exported potential and the trainer differ by" in check.finding
    assert "deployed_potential.yaml and deployed_potential.yace differ by" in check.finding
    assert "deployed_potential.yace is not what fitted_potential.yaml becomes" in check.finding


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-40])])
def test_a_yace_that_is_gone_or_cut_off_is_named(fitted: Subject, damage: Callable[[Path], object]) -> None:
    damage(fitted.plan.run.exported_potential)
    with pytest.raises(EngineError, match=r"deployed_potential\.yace is not a readable potential: .* again"):
        next(check_fit(fitted))


def test_a_core_that_was_altered_below_all_data_is_caught(fitted: Subject) -> None:
    run = fitted.plan.run
    tune(run.closed_potential, core_rep_parameters=[0.0, 1.0])
    export_yace(run.closed_potential, run.exported_potential)
    check = consistency(fitted)
    assert check.numbers["trainer_eV_per_atom"] < 1e-9  # the data know nothing of it
    assert check.passed is False
    assert "deployed_potential.yaml is not what fitted_potential.yaml becomes" in check.finding


def test_a_trainer_that_predicts_something_else_is_caught(fitted: Subject) -> None:
    run = fitted.plan.run
    table = pd.read_pickle(run.train_predictions, compression="gzip")
    table["energy_pred"] = [energy + 1e-3 for energy in table["energy_pred"]]
    table.to_pickle(run.train_predictions, compression="gzip")
    check = consistency(fitted)
    assert check.passed is False
    assert "the exported potential and the trainer differ by" in check.finding
    assert any(f"on structure {name} " in check.finding for name in table["name"])


@pytest.mark.parametrize(("energy", "force", "passed"), [(1e-7, 1e-7, True), (2e-5, 0, False), (0, 2e-5, False)])
def test_lammps_is_told_and_counts(fitted: Subject, energy: float, force: float, passed: bool) -> None:
    check = consistency(fitted, LammpsComparison(Path("/usr/bin/lmp"), energy, force))
    assert check.passed is passed
    assert check.numbers["lammps_force_eV_per_A"] == force
    assert "LAMMPS (/usr/bin/lmp)" in check.notes[0]
    assert ("LAMMPS" in check.finding) is not passed


def test_a_lammps_that_fails_is_a_failure(fitted: Subject) -> None:
    check = consistency(fitted, EngineError("lmp could not compute a structure"))
    assert check.passed is False
    assert check.finding == "lmp could not compute a structure"


def keep(path: Path, exported: dict[str, tuple[float, int]]) -> None:
    """Energy (eV) and number of atoms of each structure, as an evaluation keeps them."""
    columns = {
        "structure_id": list(exported),
        "numbers": [[14] * n for _, n in exported.values()],
        "energy_ace": [energy / n for energy, n in exported.values()],
    }
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("offset", [0.0, 0.5e-5, 1.0])
def test_the_difference_to_the_trainer_is_the_largest(tmp_path: Path, offset: float) -> None:
    energies = [np.array([-8.0]), np.array([-16.0 + 8 * offset])]
    pd.DataFrame({"name": ["one", "two"], "energy_pred": energies}).to_pickle(
        tmp_path / "pred", compression="gzip"
    )
    keep(tmp_path / "exported", {"one": (-8.0, 8), "two": (-16.0, 8), "one that was left out": (1.0, 2)})
    energy, furthest = trainer_difference(tmp_path / "pred", tmp_path / "exported")
    assert energy == pytest.approx(offset)
    assert furthest == ("two" if offset else "one")


@pytest.mark.parametrize(("energy", "told"), [(np.nan, "not finite for structure x"), (np.inf, "not finite")])
def test_a_trainer_that_predicts_no_number_is_an_error(tmp_path: Path, energy: float, told: str) -> None:
    pd.DataFrame({"name": ["x"], "energy_pred": [energy]}).to_pickle(tmp_path / "pred", compression="gzip")
    keep(tmp_path / "exported", {"x": (1.0, 1)})
    with pytest.raises(InconsistentPotentialError, match=told):
        trainer_difference(tmp_path / "pred", tmp_path / "exported")


def test_a_trainer_that_saw_other_structures_is_an_error(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["x"], "energy_pred": [1.0]}).to_pickle(tmp_path / "pred", compression="gzip")
    keep(tmp_path / "exported", {"one": (1.0, 1)})
    with pytest.raises(InconsistentPotentialError, match="none of the training structures"):
        trainer_difference(tmp_path / "pred", tmp_path / "exported")


def test_files_that_were_not_compared_are_no_agreement(fitted: Subject) -> None:
    tested = fitted.plan.run.residuals_on_test
    table = pq.read_table(tested).to_pandas()
    table[["gamma", "energy_difference", "force_difference"]] = None
    pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False), tested)
    check = the_check(fitted, True)
    assert check.passed is False
    assert "were not compared" in check.finding
    assert set(check.numbers) == {"trainer_eV_per_atom"}
