from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import State

from flows.train_generation import GenerationResult, train_generation
from mlip_train import Campaign, Potential
from mlip_train.errors import (
    CampaignBusyError,
    ConfigError,
    CorruptFileError,
    InconsistentPotentialError,
    NoUsableStructuresError,
    TrainingFailedError,
    TrainingInterruptedError,
)
from tasks.artifacts import artifact_key
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.usefixtures("prefect_server")]

MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def set_engine(campaign: Campaign, **environment: str) -> None:
    text = campaign.config_file.read_text()
    head, _, tail = text.partition("environment: {}")
    campaign.config_file.write_text(f"{head}environment: {json.dumps(environment)}{tail}")


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
        keys = {
            artifact.key: artifact
            for artifact in client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[done.state_details.flow_run_id])
                )
            )
        }
    assert names == ["my silicon generation 1", "my silicon skipped"]
    expected = {
        what: artifact_key(campaign.root, what)
        for what in ("dataset", "training", "errors", "loss-curve", "potential")
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
    assert set(record["files"]) == {"potential_gen_01.yaml", "potential_gen_01.yace"}
    assert record["lineage"]["dataset_hash"] == campaign.store.manifest.dataset_hash
    assert record["lineage"]["start"]["kind"] == "zeros"
    assert record["lineage"]["start"]["reason"] == "there is no earlier potential"
    assert len(record["history"]["loss"]) == 9
    assert record["errors"]["test"]["overall"]["n_structures"] == 1
    assert record["errors"]["train"]["overall"]["stress_rmse"] > 0
    assert record["errors"]["trainer_disagreement"] < 1e-5
    assert result.potential is not None
    atoms = next(campaign.store.iterate("train")).structure.to_atoms()
    atoms.calc = result.potential.calculator()
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert not campaign.generation(1).scratch.exists()


@pytest.mark.parametrize(
    ("fails", "error", "told"),
    [
        ("crash_at_start", TrainingFailedError, "this is the reason of the crash"),
        ("no_output", TrainingFailedError, "did not complete a single iteration"),
        ("nan_loss", TrainingFailedError, "loss is not a finite number"),
        ("exit_1_with_potential", TrainingFailedError, "did not complete a single iteration"),
        ("untrained", TrainingFailedError, "potential did not change"),
        ("broken_output", TrainingFailedError, "not a readable B-basis"),
        ("drops_structure", TrainingFailedError, "dropped 1 of its training structures"),
        ("inconsistent", InconsistentPotentialError, "differ by"),
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
    assert start.kind == "zeros"
    assert start.resumed_after == interim["iterations"]
    assert result.potential.record.history.iteration[0] == interim["iterations"]
    assert result.potential.record.history.iteration[-1] == 8
    assert result.potential.record.history.loss[0] == pytest.approx(interim["loss"], rel=1e-6)


def test_the_wall_time_limit_stops_the_engine_and_leaves_a_resumable_fit(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign(environment={"STANDIN_SECONDS": "1"})
    text = campaign.config_file.read_text().replace("engine:", "engine:\n  max_hours: 0.0015")
    campaign.config_file.write_text(text)

    with pytest.raises(TrainingInterruptedError, match=r"engine\.max_hours"):
        train_generation(campaign.root, [write_batch(0, 6)])

    assert campaign.generation(1).interim_potential.exists()


def test_a_changed_basis_starts_from_zeros_and_says_so(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    train_generation(campaign.root, [write_batch(0, 6)])
    text = campaign.config_file.read_text()
    campaign.config_file.write_text(text.replace("functions_per_element: 8", "functions_per_element: 6"))

    result = train_generation(campaign.root, [write_batch(6, 9)])

    assert result.potential is not None
    start = result.potential.record.lineage.start
    assert start.kind == "zeros"
    assert "basis is not that of generation 1" in start.reason


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
    assert "the potential before" in str(second.errors)


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
    for path in (potential.path, potential.yaml, potential.yace):
        assert Potential.load(path) == potential


def test_a_report_that_prefect_does_not_take_is_no_failure(
    make_campaign: MakeCampaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no connection")

    for name in ("create_progress_artifact", "create_markdown_artifact", "create_table_artifact"):
        monkeypatch.setattr(f"tasks.artifacts.{name}", unreachable)
    assert train_generation(make_campaign().root, [write_batch(0, 4)]).status == "published"


def test_bad_input_fails_the_run_and_leaves_the_campaign_alone(
    make_campaign: MakeCampaign, tmp_path: Path
) -> None:
    campaign = make_campaign()
    (tmp_path / "bad.extxyz").write_text("3\nno such thing\nSi 0 0\n")
    before = contents(campaign.root / "dataset")

    state = train_generation(campaign.root, [tmp_path / "bad.extxyz"], return_state=True)

    with pytest.raises(NoUsableStructuresError, match=r"bad\.extxyz"):
        state.result()
    assert contents(campaign.root / "dataset") == before


def test_a_second_run_is_refused_while_the_first_one_works(
    make_campaign: MakeCampaign, write_batch: WriteBatch
) -> None:
    campaign = make_campaign()
    with campaign.hold(), pytest.raises(CampaignBusyError, match="another run is working on"):
        train_generation(campaign.root, [write_batch(0, 6)])
    assert len(campaign.store) == 0


def test_paths_that_a_shell_would_mangle(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    campaign = make_campaign("a b; touch pwned $(touch pwned) 'q' \"q\"")
    result = train_generation(campaign.root, [write_batch(0, 6)])
    assert result.status == "published"
    assert not list(Path.cwd().rglob("pwned"))
    assert not list(REPOSITORY.glob("pwned"))
