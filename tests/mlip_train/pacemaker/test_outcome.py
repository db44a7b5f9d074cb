"""Evidence of a trained potential, and its absence."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest

from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import TrainingFailedError, TrainingInterruptedError
from mlip_train.pacemaker.outcome import check_outcome, engine_versions
from mlip_train.pacemaker.pickles import write_data
from mlip_train.pacemaker.scratch import EngineScratch
from tests.mlip_train.alloys import aluminium, checked
from tests.mlip_train.bbasis import config_of, write_random

ROWS = ["0 0 0 0.5 0.1 0.4 8", "0 0 1 0.4 0.1 0.4 8"]


def write_metrics(scratch: EngineScratch, rows: list[str]) -> None:
    header = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs"
    scratch.metrics.write_text("\n".join([header, *rows, ""]))


@pytest.fixture
def run(tmp_path: Path) -> GenerationDirectory:
    """What an engine leaves that trained well on four structures."""
    run, structures = GenerationDirectory(tmp_path / "gen_01"), checked(aluminium(4))
    run.scratch.mkdir(parents=True)
    scratch = EngineScratch(run.scratch)
    write_data(run.train_data, structures, {"Al": -0.1})
    write_metrics(scratch, ROWS)
    write_random(scratch.target_potential, config_of(["Al"]), seed=1)
    write_random(scratch.output_potential, config_of(["Al"]), seed=2)
    predicted(scratch, [structure.structure_id for structure in structures])
    run.log.write_text("the last words of the engine\n")
    return run


def predicted(scratch: EngineScratch, names: list[str]) -> None:
    table = pd.DataFrame({"name": names, "energy_pred": [-1.0] * len(names)})
    table.to_pickle(scratch.train_predictions, compression="gzip", protocol=4)


def files_below(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("return_code", [0, 1])
def test_the_evidence_counts_and_not_the_exit_code(run: GenerationDirectory, return_code: int) -> None:
    before = files_below(run.root)
    assert check_outcome(run, return_code, may_leave_out=False) == 0
    assert files_below(run.root) == before  # to keep the good of it is for others


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_interrupts_whatever_there_is(run: GenerationDirectory, number: signal.Signals) -> None:
    for code in (-number, 128 + number):  # bash tells the signal of its child so
        with pytest.raises(TrainingInterruptedError, match=rf"(?s)stopped by {number.name}.*last words") as told:
            check_outcome(run, code, may_leave_out=False)
        assert ("out of memory" in str(told.value)) is (number == signal.SIGKILL)


def test_a_crash_is_no_interruption(run: GenerationDirectory) -> None:
    EngineScratch(run.scratch).output_potential.unlink()
    with pytest.raises(TrainingFailedError, match="ended with exit code -11 but without a trained potential"):
        check_outcome(run, -signal.SIGSEGV, may_leave_out=False)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "it did not complete a single iteration"),
        (ROWS[:1], "it did not complete a single iteration"),
        ([*ROWS, "0 0 2 nan 0.1 0.4 8"], "its loss is not a finite number"),
        ([*ROWS, "0 0 2 0.4 inf 0.4 8"], "its loss is not a finite number"),
        (["these are", "no metrics"], "is not a table of the engine's metrics"),
    ],
)
def test_metrics_of_no_fit_are_told(run: GenerationDirectory, rows: list[str], told: str) -> None:
    write_metrics(EngineScratch(run.scratch), rows)
    with pytest.raises(TrainingFailedError, match=told):
        check_outcome(run, 0, may_leave_out=False)


def test_a_potential_that_did_not_change_is_told(run: GenerationDirectory) -> None:
    scratch = EngineScratch(run.scratch)
    scratch.output_potential.write_bytes(scratch.target_potential.read_bytes())
    with pytest.raises(TrainingFailedError, match="its potential did not change"):
        check_outcome(run, 0, may_leave_out=False)


def test_a_potential_of_other_elements_is_told(run: GenerationDirectory) -> None:
    write_random(EngineScratch(run.scratch).output_potential, config_of(["Ni"]))
    with pytest.raises(TrainingFailedError, match="its potential is for Ni instead of Al"):
        check_outcome(run, 0, may_leave_out=False)


def test_structures_may_only_be_left_out_where_that_is_asked_for(run: GenerationDirectory) -> None:
    names = [structure.structure_id for structure in checked(aluminium(4))]
    predicted(EngineScratch(run.scratch), names[1:])
    assert check_outcome(run, 0, may_leave_out=True) == 1
    with pytest.raises(TrainingFailedError, match="it dropped 1 of its training structures without a word"):
        check_outcome(run, 0, may_leave_out=False)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_bytes(b""), lambda file: file.write_text("x")]
)
def test_predictions_that_cannot_be_read_are_none(run: GenerationDirectory, damage: object) -> None:
    damage(EngineScratch(run.scratch).train_predictions)  # type: ignore[operator]
    with pytest.raises(TrainingFailedError, match="it wrote no predictions for its training set"):
        check_outcome(run, 0, may_leave_out=True)


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    run = GenerationDirectory(tmp_path)
    with pytest.raises(TrainingFailedError) as told:
        check_outcome(run, 0, may_leave_out=False)
    for what in (
        "a single iteration",
        "no output_potential.yaml",
        "no predictions",
        "(the engine printed nothing)",
    ):
        assert what in str(told.value)


def test_versions_are_those_in_the_potentials_metadata(tmp_path: Path) -> None:
    potential = tmp_path / "potential.yaml"
    potential.write_text(
        "metadata:\n  _fit_cycles: 1\n  pacemaker_version: 0.4.0\n  tensorpot_version: 0.6.2.1\n"
        "global:\n  DeltaSplineBins: 0.001\n  other_version: 1\n"
    )
    assert engine_versions(potential) == {"pacemaker_version": "0.4.0", "tensorpot_version": "0.6.2.1"}
