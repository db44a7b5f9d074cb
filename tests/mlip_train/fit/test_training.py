"""The fit itself: a linear solution, or the stand-in engine under watch; without Prefect."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from mlip_train import Campaign, train
from mlip_train.ace.bbasis import coefficients_of
from mlip_train.campaign.fit_plan import FitPlan, finished_fit
from mlip_train.errors import NoGpuError, TrainingFailedError, TrainingInterruptedError
from mlip_train.fit import training
from mlip_train.fit.training import finish_linear
from mlip_train.intake.accumulation import accumulate
from mlip_train.pacemaker.devices import Devices
from mlip_train.pacemaker.interim import resumable
from mlip_train.pacemaker.metrics import read_metrics
from mlip_train.pacemaker.pickles import read_predictions
from mlip_train.pacemaker.scratch import EngineScratch
from mlip_train.pacemaker.supervision import Launch, Listener
from mlip_train.records.fit import FitRecord
from tests.conftest import REPOSITORY
from tests.flows.processes import engines_of
from tests.mlip_train.bbasis import predictions
from tests.mlip_train.planning import finished, planned, solved

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


class Recorder(Listener):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def plan(make_campaign: Make, write_batch: WriteBatch) -> FitPlan:
    campaign = make_campaign(start={"first": "zeros"})
    accumulate(campaign, [write_batch(0, 3)])
    return planned(campaign, 1)


# --- with the engine ---


def test_a_fit_leaves_its_files_and_is_not_repeated(make_small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, heard = make_small(), Recorder()
    plan = planned(campaign, 1)

    record = train(plan, heard)

    run = plan.run
    assert FitRecord.load(run.fit_record) == finished_fit(run, plan.identity) == record
    assert (record.identity, record.start, record.return_code, record.left_out) == (
        plan.identity,
        plan.start,
        0,
        0,
    )
    assert record.stopped == "out of epochs"
    assert heard.notes[-1].startswith("Trained generation 1 in ")
    assert heard.notes[-1].endswith("; stopped: out of epochs")
    assert heard.warnings == []
    assert list(coefficients_of(run.fitted_potential)) != list(coefficients_of(run.start_potential))
    assert len(read_metrics(run.metrics)) == 9
    assert run.test_metrics.exists() == EngineScratch(run.scratch).test_metrics.exists()
    assert {name for name, _ in read_predictions(run.train_predictions)} == {
        row.structure_id for row in campaign.store.index("train")
    }
    assert not run.interim_potential.exists()
    assert not run.interim_record.exists()

    monkeypatch.setattr(training, "run_engine", lambda *_: pytest.fail("trained a second time"))
    again = Recorder()
    assert train(plan, again) == record
    assert again.notes == ["This very fit ended well before; it is not repeated"]


WITHOUT_PREFECT = """
import sys
from mlip_train import Campaign, train
from tests.mlip_train.planning import planned
print(train(planned(Campaign(sys.argv[1]), 1)).stopped)
assert not [name for name in sys.modules if name.startswith("prefect")]
"""


def test_a_fit_needs_no_prefect(make_small: Make) -> None:
    command = [sys.executable, "-c", WITHOUT_PREFECT, str(make_small().root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out of epochs\n"


def test_a_fit_of_a_member_is_named_as_one(make_small: Make) -> None:
    plan, heard = planned(make_small(), 1), Recorder()
    train(plan.model_copy(update={"member": 2}), heard)
    assert heard.notes[-1].startswith("Trained generation 1, member 2 in ")


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("crash_at_start", "ValueError: this is the reason of the crash"),
        ("no_output", "it wrote no output_potential.yaml"),
        ("untrained", "its potential did not change"),
        ("nan_loss", "its loss is not a finite number"),
        ("broken_output", "output_potential.yaml"),
        ("exit_1_with_potential", "it did not complete a single iteration"),
        ("drops_structure", "it dropped 1 of its training structures without a word"),
        ("restarts_from_zeros", "did not continue"),
    ],
)
def test_without_evidence_there_is_no_fit(make_small: Make, fails: str, told: str) -> None:
    plan = planned(make_small(environment={"STANDIN_FAILS": fails}), 1)
    with pytest.raises(TrainingFailedError, match=told):
        train(plan)
    assert finished_fit(plan.run, plan.identity) is None
    assert not plan.run.fitted_potential.exists()
    assert resumable(plan.run, plan.identity) is None  # it would fail in the same way


def test_a_complete_fit_counts_although_the_engine_exits_with_1(make_small: Make) -> None:
    heard = Recorder()
    record = train(planned(make_small(environment={"STANDIN_FAILS": "exit_1_after_fit"}), 1), heard)
    assert record.return_code == 1
    assert heard.warnings == ["The engine ended with exit code 1 after a complete fit"]


def test_a_killed_fit_is_resumed_by_the_same_call(make_small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.supervision._LOOK_EVERY", 0.05)
    campaign = make_small(environment={"STANDIN_FAILS": "killed"})
    plan = planned(campaign, 1)
    with pytest.raises(TrainingInterruptedError, match=r"(?s)stopped by SIGKILL.*run the same command again"):
        train(plan)
    assert resumable(plan.run, plan.identity) is not None
    text = campaign.config_file.read_text()
    campaign.config_file.write_text(text.replace("STANDIN_FAILS: killed", "STANDIN_FAILS: ''"))
    record = train(planned(campaign, 1))
    assert (record.identity, record.start.resumed_after) == (plan.identity, 2)


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()], ids=repr)
def test_a_caller_that_gives_up_leaves_no_engine_behind_and_the_next_one_may_train(
    make_small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.supervision._LOOK_EVERY", 0.05)
    monkeypatch.setattr("mlip_train.pacemaker.supervision._REPORT_EVERY", 0.1)
    until = tmp_path / "until"
    campaign = make_small(environment={"STANDIN_UNTIL": str(until)})
    plan, seen = planned(campaign, 1), []

    class GivesUp(Listener):
        def progress(self, progress: object) -> None:
            seen.extend(engines_of(campaign))
            raise error

    with pytest.raises(type(error)):
        train(plan, GivesUp())
    assert seen != []
    assert [engine for engine in seen if engine.is_running()] == []
    assert engines_of(campaign) == []
    until.touch()
    assert train(plan).return_code == 0


def test_a_gpu_is_looked_for_as_the_engine_will_look_for_it(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def visible(environment: dict[str, str]) -> Devices:
        asked.append(environment)
        return Devices(tensorflow="2.20.0", gpus=())

    monkeypatch.setattr(training, "visible_devices", visible)
    usual = make_campaign("usual", real_engine=True, gpu={"index": 1}, environment={"KEY": "value"})
    heard = Recorder()
    with pytest.raises(NoGpuError):
        training._check_devices_here(usual.config.engine, heard)
    assert asked == [{"KEY": "value", "CUDA_VISIBLE_DEVICES": "1"}]
    assert heard.notes == ["This training will use TensorFlow 2.20.0 with no GPU (trains on the CPU)"]
    for other in ({"gpu": {"index": 1}}, {"gpu": None, "real_engine": True}):
        training._check_devices_here(make_campaign(str(other), **other).config.engine, heard)
    assert len(asked) == 1  # what a launcher or another installation sees is not known here


def test_a_training_by_another_run_is_waited_for_and_its_result_used(
    plan: FitPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, heard = threading.Event(), Recorder()

    class Waiting(Listener):
        def warn(self, message: str) -> None:
            heard.warn(message)
            waits.set()

    def engine(_: FitPlan, __: Listener, ___: Launch) -> FitRecord:
        raise AssertionError("trained a second time")

    monkeypatch.setattr(training, "_train_with_engine", engine)
    got: list[FitRecord] = []
    second = threading.Thread(target=lambda: got.append(train(plan, Waiting())))
    with filelock.FileLock(plan.run.training_lock):
        second.start()
        assert waits.wait(30)
        assert second.is_alive()
        theirs = finished(plan)
    second.join(30)
    assert got == [theirs]
    assert heard.warnings == ["Generation 1 is being trained already; waiting for that"]


def test_a_training_that_fails_lets_the_next_one_train(plan: FitPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(_: FitPlan, __: Listener, ___: Launch) -> FitRecord:
        raise TrainingFailedError("this is the reason")

    monkeypatch.setattr(training, "_train_with_engine", engine)
    # not only when Python happens to collect it
    monkeypatch.setattr(filelock.FileLock, "__del__", lambda lock: None, raising=False)
    with pytest.raises(TrainingFailedError):
        train(plan)
    with filelock.FileLock(plan.run.training_lock, timeout=0):
        pass


# --- without it ---


def test_a_linear_solution_leaves_the_files_that_a_fit_would_leave(make_small: Make) -> None:
    plan = solved(make_small(fit={"max_epochs": 0}), 1)
    run, solution = plan.run, plan.solution
    assert solution is not None
    (metrics,) = read_metrics(run.metrics).to_dict("records")
    assert (metrics["loss"], metrics["rmse_epa"], metrics["rmse_f_comp"]) == pytest.approx(
        (solution.loss, solution.energy_rmse, solution.force_rmse)
    )
    assert metrics["nfuncs"] == solution.n_functions
    assert read_metrics(run.test_metrics).empty
    assert run.fitted_potential.read_bytes() == run.start_potential.read_bytes()
    structures = [row.structure for row in Campaign(plan.campaign).store.iterate("train")]
    names, energies = zip(*read_predictions(run.train_predictions), strict=True)
    assert list(names) == [structure.structure_id for structure in structures]
    assert energies == pytest.approx(predictions(run.fitted_potential, structures)[0])
    record = FitRecord.load(run.fit_record)
    assert solution.stress_share > 0.0  # the silicon data have stress
    assert record.stopped == f"solved (ridge {solution.ridge:.0e}, share of stress {solution.stress_share:.1e})"
    assert (record.return_code, record.left_out, record.seconds) == (0, 0, solution.seconds)


def test_a_fit_of_no_epochs_runs_no_engine(make_small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "run_engine", lambda *_: pytest.fail("the engine was run"))
    heard = Recorder()
    record = train(planned(make_small(fit={"max_epochs": 0}), 1), heard)
    assert record.stopped.startswith("solved")
    assert heard.notes == ["fit.max_epochs is 0: the linear solution is the potential of this generation"]


def test_structures_that_a_linear_solution_left_out_are_told(make_small: Make) -> None:
    # everything above the lowest structure
    weighting = {"kind": "energy_based", "low_window": 1e-7, "upper_limit": 1e-6, "energy_zero": "cohesive"}
    campaign, heard = make_small(fit={"max_epochs": 0, "weighting": weighting}, test={"fraction": 0}), Recorder()
    record = train(planned(campaign, 1), heard)
    assert record.left_out == 4
    assert heard.warnings == ["The weighting policy left 4 structures out of the fit"]


def test_a_linear_plan_without_a_solution_is_an_error(make_small: Make) -> None:
    plan: FitPlan = planned(make_small(fit={"max_epochs": 0}), 1).model_copy(update={"solution": None})
    with pytest.raises(TrainingFailedError, match="no linear solution"):
        finish_linear(plan)


LINEAR_ONLY = """
import sys
from mlip_train import Campaign
from tests.mlip_train.planning import publish_linear
potential = publish_linear(Campaign(sys.argv[1]), 1)
loaded = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "tensorpotential", "keras")]
assert not loaded, loaded
print(potential.yace)
"""


def test_the_linear_potential_is_made_without_tensorflow(make_small: Make) -> None:
    campaign = make_small(fit={"max_epochs": 0}, active_set={"method": "maxvol"})
    command = [sys.executable, "-c", LINEAR_ONLY, str(campaign.root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(campaign.potentials / "potential_gen_01.yace")
