"""A campaign that version 0.1 made loads, continues and is judged as before."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from deployments.cli import tables
from mlip_train import Campaign, Potential
from mlip_train.ace import cross_validation
from mlip_train.fit.selection import read_selection
from mlip_train.intake.accumulation import accumulate
from mlip_train.intake.awaiting import awaiting_training
from mlip_train.report import write_index, write_report
from tests.conftest import DATA
from tests.mlip_train.planning import edit, publish_linear


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    with tarfile.open(DATA / "copper_0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    campaign = Campaign(tmp_path / "copper")
    edit(campaign, loss_weights={"stress": 0})  # which that version did not train
    return campaign


def test_it_loads_with_its_verdicts_and_findings(campaign: Campaign) -> None:
    first, second = Potential.of(campaign, 1), Potential.of(campaign, 2)
    assert Potential.current(campaign) == first
    assert first.record.accepted
    assert not second.record.accepted
    assert "on 9 test structures of earlier generations" in second.record.verdict.reasons[1]
    assert "trainer and exported file agree" in first.record.checks[0].finding
    assert first.record.checks[0].numbers["trainer_eV_per_atom"] < 1e-5
    assert len(first.members) == 2
    assert first.record.lineage.n_train == read_selection(campaign.generation(1)).structures.chosen == 20
    campaign.store.verify()
    assert awaiting_training(campaign) is None
    assert [row["state"] for row in tables.overview(campaign)["generations"]] == ["accepted", "rejected"]


def test_its_potential_computes_as_the_new_ones_do(campaign: Campaign) -> None:
    atoms = next(campaign.store.iterate("test")).structure.to_atoms()
    atoms.calc = Potential.of(campaign, 1).calculator()
    assert atoms.get_forces().shape == (4, 3)
    assert atoms.calc.results["gamma"].max() > 0


def test_its_pages_are_written_anew(campaign: Campaign) -> None:
    page = write_report(campaign, 2).read_text()
    assert "Rejected by the gate: the energy RMSE on 16 test structures" in page
    assert "Trainer and exported file agree" in page
    assert "generation 2" in write_index(campaign).read_text()


def test_the_next_generation_is_what_version_0_1_made_of_it(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "_PATIENCE", 1.02)  # with ridges
    before = json.loads((DATA / "copper_0.1_third.json").read_text())
    batch = accumulate(campaign, [campaign.root.parent / "batch_3.extxyz"])
    assert batch.generation == 3
    assert batch.n_new == 8

    record = publish_linear(campaign, 3).record

    assert record.lineage.start.model_dump() == before["start"]
    assert record.errors.test is not None
    assert record.errors.test.overall.model_dump() == pytest.approx(before["test"], rel=1e-6)
    assert record.errors.before is not None
    assert record.errors.before.overall.model_dump() == pytest.approx(before["before"], rel=1e-9)
    assert record.verdict.model_dump(mode="json") == before["verdict"]
    assert {check.name: check.passed for check in record.checks} == before["checks"]
    assert Potential.current(campaign) == Potential.of(campaign, 1)
