"""What a person decides is recorded, whatever becomes of the pages that show it."""

from __future__ import annotations

import getpass
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import RejectedPotentialError
from mlip_train.potential.potential import Potential
from tests.mlip_train.report.published import make_structures, publish_generation


@pytest.fixture
def campaign(make_campaign: Callable[..., Campaign]) -> Campaign:
    campaign = make_campaign("carbide", elements=["C", "Si"])
    publish_generation(campaign, 1, make_structures(12, 1))
    publish_generation(campaign, 2, make_structures(12, 2))
    return campaign


def reject(campaign: Campaign, why: str = "it melts") -> Result:
    return CliRunner().invoke(app, ["reject", str(campaign.root), "2", "--why", why])


def damage(file: Path, content: str) -> None:
    assert file.exists()
    file.write_text(content)


def is_rejected(campaign: Campaign) -> bool:
    return campaign.current_generation() == 1 and not Potential.of(campaign, 2).record.accepted


def test_a_rejection_moves_the_pointer_and_is_on_the_pages(campaign: Campaign) -> None:
    done = reject(campaign)
    assert done.exit_code == 0
    assert is_rejected(campaign)
    assert "it melts" in campaign.generation(2).report.read_text()


@pytest.mark.parametrize("content", ["", "PAR1", "not Parquet at all"])
def test_damaged_predictions_are_named_and_the_decision_stands(campaign: Campaign, content: str) -> None:
    damage(campaign.generation(2).residuals_on_test, content)
    done = reject(campaign)
    assert done.exit_code == 0
    assert "The report could not be written" in done.output
    assert "residuals_test.parquet holds no readable predictions" in done.output
    assert is_rejected(campaign)


def test_a_damaged_selection_is_named_and_the_decision_stands(campaign: Campaign) -> None:
    campaign.generation(2).selection.write_text("{")
    done = reject(campaign)
    assert done.exit_code == 0
    assert "selection.json is not what a fit learned from" in done.output
    assert "; restore it from a backup, or remove it: " in done.output
    assert is_rejected(campaign)


def test_a_page_that_cannot_be_written_keeps_nobody_from_deciding(campaign: Campaign) -> None:
    campaign.report.mkdir()
    done = reject(campaign)
    assert done.exit_code == 0
    assert "The report could not be written" in done.output
    assert is_rejected(campaign)


def test_a_reason_in_another_encoding_is_kept_as_far_as_it_can_be_read(campaign: Campaign) -> None:
    assert reject(campaign, "it flie\udcdf").exit_code == 0
    assert Potential.of(campaign, 2).record.decisions[0].why == "it flie?"


def test_a_user_without_a_name_is_a_number(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert reject(campaign).exit_code == 0
    assert Potential.of(campaign, 2).record.decisions[0].by.startswith(f"{os.getuid()}@")


def test_a_script_reads_that_a_potential_was_rejected(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject_it(root: Path) -> Campaign:
        raise RejectedPotentialError(f"{root}: generation 2 was trained and is kept, but rejected")

    # not by its name: that of the module is that of the program, too
    monkeypatch.setattr(importlib.import_module("deployments.cli.commands"), "Campaign", reject_it)
    done = CliRunner().invoke(app, ["run", str(campaign.root), "data.xyz", "--json"])
    assert done.exit_code == 4
    answer = json.loads(done.stdout)
    assert answer["status"] == "rejected"
    assert answer["error"] == "RejectedPotentialError"
