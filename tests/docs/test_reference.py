"""The references in docs/ are those of the code, and what the pages show of campaign.yaml is valid."""

from __future__ import annotations

import re

import pytest

from docs.make_reference import PAGE, reference
from mlip_train import CampaignConfig
from mlip_train.base.strict_yaml import load_yaml
from mlip_train.campaign.campaign import BUNDLE_SUFFIXES
from mlip_train.campaign.dataset import SCHEMA
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.evaluation import residual_files
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
DIRECTORY = (REPOSITORY / "docs" / "campaign_directory.md").read_text()
SETTINGS = [
    pytest.param(block, id=f"{page.stem} {number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
]


def test_the_reference_of_campaign_yaml_is_not_stale() -> None:
    assert PAGE.read_text() == reference(), "run: .venv/bin/python -m docs.make_reference"


def test_every_key_stands_in_it() -> None:
    sections = re.split(r"^## ", reference(), flags=re.MULTILINE)[2:]
    known = {section.splitlines()[0]: section for section in sections}
    for key, field in CampaignConfig.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if key not in known:
            assert f"| `{key}` |" in reference()
            continue
        for inner in type(default).model_fields:
            assert f"| `{inner}` |" in known[key] or f"| `{inner}: " in known[key], (key, inner)


@pytest.mark.parametrize("block", SETTINGS)
def test_settings_that_a_page_shows_are_valid(block: str) -> None:
    shown = load_yaml(block, "the page")
    CampaignConfig.parse({"elements": ["Si"], **shown}, "the page")


def test_every_file_of_a_run_is_described_with_the_module_that_writes_it() -> None:
    for file in GenerationDirectory.files().values():
        (row,) = [line for line in DIRECTORY.splitlines() if re.match(rf"\| `{re.escape(file.name)}/?` \|", line)]
        assert f"| `{file.writer}` |" in row


def test_bundles_and_columns_are_described() -> None:
    for suffix in BUNDLE_SUFFIXES:
        assert f"| `potential_gen_NN{suffix}` |" in DIRECTORY
    for name in (*SCHEMA.names, *residual_files.SCHEMA.names):
        assert f"`{name}`" in DIRECTORY
