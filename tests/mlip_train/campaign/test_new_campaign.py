from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlip_train import CampaignConfig
from mlip_train.campaign.new_campaign import NewCampaign, provide_campaign
from mlip_train.config.engine import EnginePlace
from mlip_train.config.fit import EnergyBasedWeighting, Fit
from mlip_train.config.reference import ZBL
from mlip_train.config.template import campaign_yaml
from mlip_train.errors import CampaignNotFoundError, ConfigError


def test_its_sections_are_those_of_campaign_yaml() -> None:
    left_out = {"reference_energies", "extra"}  # for people who edit the file
    assert set(NewCampaign.model_fields) == set(CampaignConfig.model_fields) - left_out


def test_elements_alone_give_what_init_gives() -> None:
    assert NewCampaign(elements=("Si",)).campaign_yaml() == campaign_yaml(["Si"], "standard")


def test_what_a_form_leaves_at_none_is_what_the_preset_says(tmp_path: Path) -> None:
    form = {"elements": ["Si"], "preset": "quick", "basis": None, "fit": {"max_epochs": 3}, "engine": None}
    config = provide_campaign(tmp_path / "silicon", NewCampaign.model_validate(form)).config
    assert config.basis.functions_per_element == 100
    assert config.fit.max_epochs == 3


def test_a_form_that_fills_in_every_section_is_understood(tmp_path: Path) -> None:
    usual = CampaignConfig(elements=("Ni", "Al"))
    sections: dict[str, Any] = {
        name: getattr(usual, name).model_dump(mode="json")
        for name in NewCampaign.model_fields
        if name not in ("elements", "preset", "engine")
    }
    place = EnginePlace().model_dump(mode="json")
    new = NewCampaign.model_validate({"elements": ["Ni", "Al"], "preset": "standard", "engine": place, **sections})
    assert provide_campaign(tmp_path / "alloy", new).config == usual


def test_null_inside_a_section_is_a_choice(tmp_path: Path) -> None:
    form = {"elements": ["Si"], "test": {"stratify_by": None}}
    assert provide_campaign(tmp_path / "silicon", NewCampaign.model_validate(form)).config.test.stratify_by is None


def test_a_flow_may_leave_out_what_kind_its_sections_are_of(tmp_path: Path) -> None:
    fit = Fit(max_epochs=3, weighting=EnergyBasedWeighting(low_window=0.5))
    new = NewCampaign(elements=("Si",), reference=ZBL(mode="core"), fit=fit)
    config = provide_campaign(tmp_path / "silicon", new).config
    assert config.reference == ZBL(mode="core")
    assert config.fit == fit


@pytest.mark.parametrize("key", ["command", "environment"])
def test_a_form_says_neither_what_to_run_nor_with_which_secrets(key: str) -> None:
    with pytest.raises(ValidationError, match=f"unknown key '{key}'"):
        NewCampaign.model_validate({"elements": ["Si"], "engine": {key: {"TOKEN": "1"}}})


def test_the_same_form_may_be_sent_again(tmp_path: Path) -> None:
    new = NewCampaign(elements=("Si",), preset="quick")
    made = provide_campaign(tmp_path / "silicon", new)
    made.config_file.write_text(made.config_file.read_text() + "# a note\n")
    assert provide_campaign(made.root, new).config_file.read_text().endswith("# a note\n")


def test_a_form_does_not_change_a_campaign_that_is_there(tmp_path: Path) -> None:
    made = provide_campaign(tmp_path / "silicon", NewCampaign(elements=("Si",)))
    before = made.config_file.read_text()
    with pytest.raises(ConfigError, match=r"differs from new_campaign in basis, fit; leave new_campaign empty"):
        provide_campaign(
            made.root, NewCampaign.model_validate({"elements": ["Si"], "basis": {"cutoff": 5}, "fit": {"seed": 1}})
        )
    assert made.config_file.read_text() == before


def test_without_one_the_campaign_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(CampaignNotFoundError, match="mlip-train init"):
        provide_campaign(tmp_path / "silicon", None)


@pytest.mark.parametrize(
    "content", [{}, {"elements": []}, {"elements": ["Si"], "bassis": {}}, {"elements": ["Zz"]}]
)
def test_nonsense_is_refused_before_anything_is_made(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        NewCampaign.model_validate(content)


def test_sections_that_do_not_go_together_make_nothing(tmp_path: Path) -> None:
    new = NewCampaign.model_validate({"elements": ["Si"], "start": {"first": "zeros"}})
    with pytest.raises(ConfigError, match=r"max_epochs: 0 trains nothing from zeros"):
        provide_campaign(tmp_path / "silicon", new)
    assert not (tmp_path / "silicon" / "campaign.yaml").exists()


def test_two_forms_at_once_make_one_campaign(tmp_path: Path) -> None:
    new, root = NewCampaign(elements=("Si",)), tmp_path / "silicon"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: provide_campaign(root, new).root, range(40)))
    assert set(made) == {root}


def test_what_was_killed_while_it_made_a_campaign_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "silicon" / "inbox").mkdir(parents=True)
    (tmp_path / "silicon" / ".campaign.yaml.1-ab.tmp").touch()
    assert provide_campaign(tmp_path / "silicon", NewCampaign(elements=("Si",))).config.elements == ("Si",)


def test_no_campaign_is_made_among_what_others_keep(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "letter").touch()
    with pytest.raises(CampaignNotFoundError, match="not an empty directory"):
        provide_campaign(tmp_path, NewCampaign(elements=("Si",)))
    assert [path.name for path in tmp_path.rglob("*")] == ["inbox", "letter"]


def test_a_place_where_no_directory_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CampaignNotFoundError, match=r"cannot be made \(.*Not a directory.*choose another place"):
        provide_campaign(tmp_path / "file" / "silicon", NewCampaign(elements=("Si",)))
