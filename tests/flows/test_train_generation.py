from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import httpx
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import State

from flows.train_generation import GenerationResult, train_generation
from mlip_train import Campaign, Potential
from mlip_train.campaign.dataset import DatasetStore, StoredStructure
from mlip_train.errors import (
    ConfigError,
    CorruptFileError,
    NoUsableStructuresError,
    RejectedPotentialError,
    TrainingFailedError,
    TrainingInterruptedError,
)
from mlip_train.fit.pair_curves import PairCurve
from mlip_train.records.manifest import Split
from tasks.artifacts import artifact_key
from tests.conftest import REPOSITORY
from tests.flows.processes import engines_of, wait_for
from tests.mlip_train.alloys import aluminium_nickel, write_frames
from tests.mlip_train.planning import edit

pytestmark = [pytest.mark.usefixtures("prefect_server")]

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


# a campaign that learns enough in seconds to become worse
LEARNING: dict[str, Any] = {
    "basis": {
        "cutoff": 5.0, "functions_per_element": 40, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2]
    },
    "fit": {"max_epochs": 0},
    "test": {"fraction": 0.3},
    "gate": {"max_regression": "5 %", "require": ["consistency"]},
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_generations_then_nothing_new(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign()

    first = train_generation(campaign.root, [write_batch(0, 6)])
    second = train_generation(campaign.root, [write_batch(0, 9)])

    assert first.potential is not None
    assert second.potential is not None
    assert first.potential.yace == campaign.root / "potentials" / "potential_gen_01.yace"
    assert second.potential.generation == 2
    assert second.batch.n_new == 3
    assert second.batch.n_duplicates == 6
    lineage = second.potential.record.lineage
    assert lineage.start.kind == "previous"
    assert lineage.parent_sha256 == first.potential.record.files["potential_gen_01.yaml"]
    assert Potential.current(campaign) == second.potential

    before = contents(campaign.root / "dataset"), contents(campaign.potentials)
    third = train_generation(campaign.root, [write_batch(0, 9)])
    assert third.status == "skipped"
    assert third.potential == second.potential
    assert (contents(campaign.root / "dataset"), contents(campaign.potentials)) == before


def test_the_states_tell_what_happened(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign("my silicon")
    done: State[GenerationResult] = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)
    again: State[GenerationResult] = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)

    assert done.name == "Completed"
    assert done.message is not None
    for told in ("generation 1", str(campaign.potentials / "potential_gen_01.yace"), "meV/atom", "meV/Å"):
        assert told in done.message
    assert again.name == "Skipped"
    assert again.is_completed()
    with get_client(sync_client=True) as client:
        names = [client.read_flow_run(s.state_details.flow_run_id).name for s in (done, again)]
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[done.state_details.flow_run_id]))
        artifacts = client.read_artifacts(artifact_filter=of_run)
        keys = {artifact.key: artifact for artifact in artifacts if artifact.key}  # a result of Prefect has none
    assert names == ["my silicon generation 1", "my silicon skipped"]
    expected = {
        what: artifact_key(campaign.root, what)
        for what in ("dataset", "selection", "training", "checks", "errors", "loss-curve", "potential")
    }
    assert set(keys) == set(expected.values())
    assert all(re.fullmatch(r"my-silicon-[0-9a-f]{4}-[a-z-]+", key) for key in keys)
    assert "data:image/png;base64," in str(keys[expected["loss-curve"]].data)
    assert str(campaign.potentials / "potential_gen_01.yace") in str(keys[expected["potential"]].data)


def test_a_published_bundle_is_complete_and_verifiable(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    result = train_generation(campaign.root, [write_batch(0, 6)])

    record = json.loads((campaign.potentials / "potential_gen_01.json").read_text())
    assert set(record["files"]) == {f"potential_gen_01{suffix}" for suffix in (".yaml", ".yace", ".asi", ".lmp")}
    assert record["lineage"]["dataset_hash"] == campaign.store.manifest.dataset_hash
    assert record["lineage"]["start"]["kind"] == "linear"
    assert record["lineage"]["start"]["reason"] == "there is no earlier potential"
    assert len(record["history"]["loss"]) == 9
    assert record["errors"]["test"]["overall"]["n_structures"] == 1
    assert record["errors"]["train"]["overall"]["stress_rmse"] > 0
    assert record["checks"][0]["numbers"]["trainer_eV_per_atom"] < 1e-5
    assert result.potential is not None
    atoms = next(campaign.store.iterate("train")).structure.to_atoms()
    atoms.calc = result.potential.calculator()
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert 0 < atoms.calc.results["gamma"].max() <= 1.01
    assert record["convergence"] == "out of epochs"
    assert not campaign.generation(1).scratch.exists()


@pytest.mark.parametrize(
    ("fails", "error", "told"),
    [
        ("crash_at_start", TrainingFailedError, "this is the reason of the crash"),
        ("no_output", TrainingFailedError, "did not complete a single iteration"),
        ("nan_loss", TrainingFailedError, "loss is not a finite number"),
        ("restarts_from_zeros", TrainingFailedError, "the fit did not continue from"),
        ("exit_1_with_potential", TrainingFailedError, "did not complete a single iteration"),
        ("untrained", TrainingFailedError, "potential did not change"),
        ("broken_output", TrainingFailedError, "not a readable B-basis"),
        ("drops_structure", TrainingFailedError, "dropped 1 of its training structures"),
        ("killed", TrainingInterruptedError, "SIGKILL"),
        ("truncated_interim", TrainingInterruptedError, "SIGTERM"),
    ],
)
def test_no_failure_of_the_engine_is_published(
    make_campaign: MakeCampaign, write_batch: WriteBatch, fails: str, error: type[Exception], told: str
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": fails})

    state = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)

    assert state.is_failed()
    with pytest.raises(error, match=told) as raised:
        state.result()
    assert state.message is not None
    assert told in state.message
    assert raised.value.exit_code == 3  # type: ignore[attr-defined]
    assert contents(campaign.potentials) == {}
    assert len(campaign.store) == 6
    assert campaign.pending_generation() == 1


def test_a_potential_with_a_hole_is_rejected_and_kept(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(reference={"kind": "zbl"})
    with monkeypatch.context() as hollow:
        hollow.setattr(PairCurve, "hole", lambda curve: "Si and Si fall into each other")
        state = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)
    assert state.name == "Rejected"
    assert state.is_failed()
    with pytest.raises(RejectedPotentialError, match="rejected: dimer: Si and Si fall") as raised:
        state.result()
    assert state.message == str(raised.value)
    assert raised.value.exit_code == 4
    assert len(campaign.store) == 6
    assert campaign.generation(1).check_picture("dimer").exists()
    assert "Si and Si fall into each other" in campaign.generation(1).report.read_text()
    assert not Potential.of(campaign, 1).record.accepted
    assert Potential.current(campaign) is None
    trained = campaign.generation(1).fitted_potential.stat().st_mtime_ns

    skipped = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)
    assert skipped.name == "Skipped"
    assert "generation 1 is rejected, and nothing has changed since" in str(skipped.message)

    edit(campaign, gate={"require": ["consistency"]})  # what the fit is has not changed, so it is not fitted again
    potential = train_generation(campaign.root, [write_batch(0, 6)]).potential
    assert potential is not None
    assert potential == Potential.current(campaign)
    assert campaign.generation(1).fitted_potential.stat().st_mtime_ns == trained


def test_a_trainer_that_trained_something_else_is_rejected(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "inconsistent"})
    state = train_generation(campaign.root, [write_batch(0, 6)], return_state=True)
    assert state.name == "Rejected"
    assert "consistency: the exported potential and the trainer differ by" in str(state.message)
    assert Potential.current(campaign) is None


def spoilt(path: Path, silicon: list[Atoms]) -> Path:
    """DFT results whose forces belong to other atoms."""
    random, frames = np.random.default_rng(0), []
    for atoms in silicon:
        forces = random.permutation(atoms.get_forces().ravel()).reshape(-1, 3)
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=forces)
        frames.append(frame)
    ase.io.write(path, frames)
    return path


def test_a_generation_that_learned_from_worse_data_is_rejected_and_the_campaign_goes_on(
    make_campaign: MakeCampaign, write_batch: WriteBatch, tmp_path: Path, silicon: list[Atoms]
) -> None:
    campaign = make_campaign(**LEARNING)
    first = train_generation(campaign.root, [write_batch(0, 27)]).potential
    assert first is not None

    state = train_generation(campaign.root, [spoilt(tmp_path / "worse.extxyz", silicon[27:45])], return_state=True)
    assert state.name == "Rejected"
    told = str(state.message)
    assert "force RMSE on " in told
    assert "test structures of earlier generations is" in told
    assert "Generation 1 stays current" in told
    assert Potential.current(campaign) == first
    assert len(campaign.store) == 45
    assert "test structures of earlier generations" in campaign.generation(2).report.read_text()

    result = train_generation(campaign.root, [write_batch(45, 54)], return_state=True)
    third = Potential.of(campaign, 3).record
    assert third.errors.parent == 1
    assert third.lineage.start.generation == 1
    assert result.name in {"Completed", "Rejected"}  # the wrong forces are still in the dataset


def test_a_fit_without_one_config_type_is_rejected(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(**LEARNING)
    edit(campaign, loss_weights={"stress": 0})  # which would let the other structures suffer, too
    assert train_generation(campaign.root, [write_batch(0, 45)]).potential is not None
    everything = DatasetStore.iterate

    def without(store: DatasetStore, split: Split | None = None, after: int = 0) -> Iterator[StoredStructure]:
        rows = everything(store, split, after)
        return (row for row in rows if row.split == "test" or row.structure.config_type != "Vacancy")

    with monkeypatch.context() as forgetful:
        forgetful.setattr(DatasetStore, "iterate", without)
        state = train_generation(campaign.root, [write_batch(45, 54)], return_state=True)
    assert state.name == "Rejected"
    assert "test structures of config type Vacancy is" in str(state.message)
    errors = Potential.of(campaign, 2).record.errors
    assert errors.test is not None
    assert errors.before is not None
    growth = {
        name: of_type.force_rmse / errors.before.by_config_type[name].force_rmse
        for name, of_type in errors.test.by_config_type.items()
    }
    assert max(growth, key=lambda name: growth[name]) == "Vacancy"


def test_a_failed_generation_can_be_run_again(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "nan_loss"})
    with pytest.raises(TrainingFailedError):
        train_generation(campaign.root, [write_batch(0, 6)])
    text = campaign.config_file.read_text()
    campaign.config_file.write_text(text.replace("STANDIN_FAILS: nan_loss", "STANDIN_FAILS: ''"))

    result = train_generation(campaign.root, [write_batch(0, 6)])

    assert result.status == "published"
    assert result.batch.n_new == 0
    assert result.potential is not None
    assert result.potential.generation == 1


def test_a_complete_fit_counts_although_the_engine_exits_with_1(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "exit_1_after_fit"})
    assert train_generation(campaign.root, [write_batch(0, 6)]).status == "published"


def test_a_killed_fit_resumes_from_its_newest_good_potential(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "truncated_interim"})
    with pytest.raises(TrainingInterruptedError, match="to resume"):
        train_generation(campaign.root, [write_batch(0, 6)])
    interim = json.loads(campaign.generation(1).interim_record.read_text())
    assert 1 <= interim["iterations"] <= 3
    text = campaign.config_file.read_text()
    campaign.config_file.write_text(text.replace("truncated_interim", "''"))

    result = train_generation(campaign.root, [write_batch(0, 6)])

    assert result.potential is not None
    start = result.potential.record.lineage.start
    assert start.kind == "linear"
    assert start.resumed_after == interim["iterations"]
    assert result.potential.record.history.iteration[0] == interim["iterations"]
    assert result.potential.record.history.iteration[-1] == 8
    assert result.potential.record.history.loss[0] == pytest.approx(interim["loss"], rel=1e-6)


def test_the_wall_time_limit_stops_the_engine_and_leaves_a_resumable_fit(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_SECONDS": "5"})
    edit(campaign, engine={"max_hours": 1.0})

    def two_hours_later_once_there_is_a_potential() -> float:
        return time.monotonic() + 7200 * campaign.generation(1).interim_potential.exists()

    clock = SimpleNamespace(monotonic=two_hours_later_once_there_is_a_potential, sleep=time.sleep)
    monkeypatch.setattr("mlip_train.pacemaker.supervision.time", clock)

    with pytest.raises(TrainingInterruptedError, match=r"engine\.max_hours"):
        train_generation(campaign.root, [write_batch(0, 6)])

    assert wait_for(lambda: not engines_of(campaign), 10)
    assert campaign.generation(1).interim_potential.exists()


def test_a_killed_fit_does_not_solve_its_linear_start_again(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "crash_at_start"})
    with pytest.raises(TrainingFailedError):
        train_generation(campaign.root, [write_batch(0, 6)])
    before = campaign.generation(1).start_potential.read_bytes()
    edit(campaign, engine={"environment": {}})
    monkeypatch.setattr("mlip_train.fit.starting.solve_linear_start", None)

    potential = train_generation(campaign.root, [write_batch(0, 6)]).potential

    assert potential is not None
    assert potential.record.lineage.start.kind == "linear"
    assert campaign.generation(1).start_potential.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"basis": {"functions_per_element": 6}}, "linear", "2 functions of generation 1 are not in the basis"),
        ({"basis": {"cutoff": 4.7}}, "linear", "the cutoff changed since generation 1"),
        ({"basis": {"functions_per_element": 10, "nradmax_by_orders": [4, 3]}}, "previous", "part of the new one"),
    ],
    ids=["smaller", "cutoff", "larger"],
)
def test_a_changed_basis_decides_the_start_and_the_lineage_says_so(
    make_campaign: MakeCampaign, write_batch: WriteBatch, changes: dict[str, Any], kind: str, told: str
) -> None:
    campaign = make_campaign(fit={"max_epochs": 2})
    train_generation(campaign.root, [write_batch(0, 6)])
    edit(campaign, **changes)

    result = train_generation(campaign.root, [write_batch(6, 9)])

    assert result.potential is not None
    start = result.potential.record.lineage.start
    assert start.kind == kind
    assert told in start.reason
    assert (result.potential.record.lineage.parent_sha256 is None) == ("cutoff" in told)


def test_without_epochs_the_linear_solution_is_published_and_the_engine_never_called(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(
        fit={"max_epochs": 0}, active_set={"method": "maxvol", "max_structures": 4}, test={"fraction": 0.3},
        engine={"command": ["no-such-program"]},
    )  # fmt: skip
    first = train_generation(campaign.root, [write_batch(0, 8)]).potential
    second = train_generation(campaign.root, [write_batch(8, 12)]).potential
    assert first is not None
    assert second is not None
    for potential in (first, second):
        assert potential.record.convergence.startswith("solved (ridge ")
        assert potential.record.lineage.start.kind == "linear"
        assert potential.record.lineage.n_train == 4
        assert potential.errors.test is not None
        assert len(potential.record.history.loss) == 1
    assert second.errors.before is not None
    assert not campaign.generation(1).input_yaml.exists()


def test_a_used_up_time_budget_ends_the_fit_with_a_potential(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(
        fit={"max_epochs": 200, "max_hours": 1.5 / 3600}, environment={"STANDIN_SECONDS": "0.5"}
    )
    potential = train_generation(campaign.root, [write_batch(0, 5)]).potential
    assert potential is not None
    assert potential.record.convergence == "out of time (fit.max_hours)"
    assert 1 <= potential.record.history.iteration[-1] < 200


def test_two_elements_from_dft_results_to_the_next_generation(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    campaign = make_campaign(
        elements=["Al", "Ni"],
        basis={"cutoff": 4.5, "functions_per_element": 10, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1]},
        fit={"max_epochs": 2},
        active_set={"method": "maxvol", "max_structures": 12},
        test={"fraction": 0.2},
    )
    potentials = []
    for seed in (0, 1):
        batch = write_frames(tmp_path / f"alloys_{seed}.traj", aluminium_nickel(20, seed))
        potentials.append(train_generation(campaign.root, [batch]).potential)
    first, second = potentials
    assert first is not None
    assert second is not None
    assert (first.record.lineage.start.kind, second.record.lineage.start.kind) == ("linear", "previous")
    assert second.record.lineage.n_train == 12
    assert second.errors.test is not None
    assert set(second.errors.test.by_config_type) == {"mixed", "pure"}
    calculator = second.calculator()
    chosen = json.loads(campaign.generation(2).selection.read_text())["structures"]
    for row in campaign.store.iterate("train"):
        if row.structure.structure_id in chosen:
            calculator.calculate(row.structure.to_atoms())
            assert calculator.results["gamma"].max() <= 1.01


def test_the_training_data_hold_no_test_structure_in_any_generation(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(test={"fraction": 0.3})
    tested: set[str] = set()
    for stop in (5, 8, 12):
        train_generation(campaign.root, [write_batch(0, stop)])
        generation = campaign.store.generations[-1]
        trained = set(pd.read_pickle(campaign.generation(generation).train_data, compression="gzip")["name"])
        now_tested = set(pd.read_pickle(campaign.generation(generation).test_data, compression="gzip")["name"])
        assert tested <= now_tested
        assert not trained & now_tested
        tested = now_tested


def test_the_potential_before_is_compared_on_the_same_test_structures(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(test={"fraction": 0.3})
    first = train_generation(campaign.root, [write_batch(0, 6)]).potential
    second = train_generation(campaign.root, [write_batch(0, 10)]).potential
    assert first is not None
    assert second is not None
    assert first.errors.before is None
    assert second.errors.before is not None
    assert second.errors.test is not None
    assert second.errors.before.overall.n_structures == second.errors.test.overall.n_structures == 3
    assert second.errors.before != first.errors.test
    assert "(its parent: energy" in str(second.errors)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("elements:\n- Si", "elements:\n- Ge", "the dataset holds Si"),
        ("cutoff: 4.5", "cutoff: 2.0", "leaves an atom of"),
        ("reference_energies: {Si: -5.4}", "reference_energies: {Si: -5.0}", "pinned -5.4 eV"),
    ],
)
def test_a_configuration_that_the_dataset_does_not_fit_is_refused_before_anything_is_stored(
    make_campaign: MakeCampaign, write_batch: WriteBatch, old: str, new: str, told: str
) -> None:
    campaign = make_campaign()
    with campaign.config_file.open("a") as config:
        config.write("reference_energies: {Si: -5.4}\n")
    train_generation(campaign.root, [write_batch(0, 4)])
    text = campaign.config_file.read_text()
    assert old in text
    campaign.config_file.write_text(
        text.replace(old, new).replace("{Si: -5.4}", "{Ge: -5.4}" if "Ge" in new else "{Si: -5.4}")
    )
    before = contents(campaign.root / "dataset")
    with pytest.raises(ConfigError, match=told):
        train_generation(campaign.root, [write_batch(4, 6)])
    assert contents(campaign.root / "dataset") == before


def test_a_damaged_potential_is_told_before_anything_is_stored(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    train_generation(campaign.root, [write_batch(0, 4)])
    (campaign.potentials / "potential_gen_01.yaml").write_text("x")
    before = contents(campaign.root / "dataset")
    with pytest.raises(CorruptFileError, match=r"potential_gen_01\.yaml"):
        train_generation(campaign.root, [write_batch(4, 6)])
    assert contents(campaign.root / "dataset") == before


def test_a_potential_is_found_by_any_of_its_files(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    potential = train_generation(make_campaign().root, [write_batch(0, 4)]).potential
    assert potential is not None
    for path in (potential.path, potential.yaml, potential.yace, potential.asi):
        assert Potential.load(path) == potential


def test_a_report_that_prefect_does_not_take_is_no_failure(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no connection")

    for name in ("get_client", "create_markdown_artifact", "create_table_artifact"):
        monkeypatch.setattr(f"tasks.artifacts.{name}", unreachable)
    monkeypatch.setattr("flows.train_generation.get_client", unreachable)  # by which the run gets its name
    assert train_generation(make_campaign().root, [write_batch(0, 4)]).status == "published"


def test_bad_input_fails_the_run_and_leaves_the_campaign_alone(
    make_campaign: MakeCampaign, tmp_path: Path
) -> None:
    campaign = make_campaign()
    (tmp_path / "bad.extxyz").write_text("3\nno such thing\nSi 0 0\n")
    before = contents(campaign.root / "dataset")

    state = train_generation(campaign.root, [tmp_path / "bad.extxyz"], return_state=True)

    assert state.name == "Failed"
    with pytest.raises(NoUsableStructuresError, match=r"bad\.extxyz") as raised:
        state.result()
    assert state.message == str(raised.value)
    assert contents(campaign.root / "dataset") == before


def test_a_second_run_waits_until_the_first_one_has_ended(
    make_campaign: MakeCampaign, write_batch: WriteBatch, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = make_campaign()
    held, stored = threading.Event(), []

    def first_run() -> None:
        with campaign.hold():
            held.set()
            assert wait_for(lambda: "waiting for it to end" in caplog.text, 60)
            stored.append(len(campaign.store))

    # a thread of its own, because whoever holds a campaign cannot wait for itself
    first = threading.Thread(target=first_run)
    first.start()
    assert held.wait(60)
    second = train_generation(campaign.root, [write_batch(0, 6)])
    first.join()
    assert stored == [0]
    assert second.status == "published"


def test_paths_that_a_shell_would_mangle(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign("a b; touch pwned $(touch pwned) 'q' \"q\"")
    result = train_generation(campaign.root, [write_batch(0, 6)])
    assert result.status == "published"
    assert not list(Path.cwd().rglob("pwned"))
    assert not list(REPOSITORY.glob("pwned"))
