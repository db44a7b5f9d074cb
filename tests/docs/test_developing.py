"""The examples of docs/developing.md are put into a copy of the package as the page says, and trained with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.xdist_group("developing")  # one worker makes the package that they share

PAGE = (REPOSITORY / "docs" / "developing.md").read_text()
CODE = r"```python\n(.*?)^```$"
FLAGS = re.MULTILINE | re.DOTALL

# The notebook's generation twice, on the second batch beside its parent; then what came of it.
SCRIPT = """\
import json, runpy, sys
from pathlib import Path
import mlip_train
from mlip_train import Campaign, CampaignConfig, Potential
from mlip_train.report import write_report

Campaign.create("silicon", Path("campaign.yaml").read_text())
for notebook in ("first.py", "second.py", "one_step.py"):
    runpy.run_path(notebook)
record = Potential.of(Campaign("silicon"), 2).record
json.dump({
    "package": str(Path(mlip_train.__file__).parent.parent),
    "schema": CampaignConfig.model_json_schema(),
    "record": record.model_dump(mode="json"),
    "page": write_report(Campaign("silicon"), 2).read_text(),
}, Path("seen.json").open("w"))
"""


def apply_examples(package: Path) -> list[str]:
    """Put every block into the file that the line before it names; return the files that were touched."""
    touched = []
    after = r"^In `(\S+)`, after the line that begins with `(.+?)`:\n\n" + CODE
    for file, anchor, block in re.findall(after, PAGE, FLAGS):
        path = package / file
        lines = path.read_text().splitlines(keepends=True)
        (place,) = [n for n, line in enumerate(lines) if line.strip().startswith(anchor)]
        path.write_text("".join([*lines[: place + 1], block, *lines[place + 1 :]]))
        touched.append(file)
    for file, block in re.findall(r"^New file `(\S+)`:\n\n" + CODE, PAGE, FLAGS):
        assert not (package / file).exists()
        (package / file).write_text(block)
        touched.append(file)
    return touched


def notebook() -> tuple[str, str]:
    """The blocks that are run and not put anywhere: a generation, and one step alone."""
    generation, step = (
        code for code in re.findall("^" + CODE, PAGE, FLAGS) if code.startswith("from mlip_train import")
    )
    return generation, step


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory,
    campaign_text: Callable[..., str],
    write_frames: Callable[[Path, int, int], Path],
) -> dict[str, Any]:
    """What a package with both examples makes of two generations, without Prefect and without the engine."""
    folder = tmp_path_factory.mktemp("developing")
    shutil.copytree(REPOSITORY / "mlip_train", folder / "package" / "mlip_train")
    apply_examples(folder / "package")
    gate = {"on": ["force_length_rmse"], "require": ["consistency", "slope"]}
    (folder / "campaign.yaml").write_text(campaign_text(fit={"max_epochs": 0}, gate=gate))
    batches = folder / "examples" / "silicon"
    batches.mkdir(parents=True)
    write_frames(batches / "batch_1.extxyz", 0, 10)
    write_frames(batches / "batch_2.extxyz", 10, 16)
    generation, step = notebook()
    (folder / "first.py").write_text(generation)
    (folder / "second.py").write_text(generation.replace("batch_1", "batch_2"))
    (folder / "one_step.py").write_text(step)
    (folder / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(folder / "package")}
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    assert found["package"] == str(folder / "package")
    return found | {"stdout": run.stdout}


def test_two_files_are_touched_by_each(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "mlip_train", tmp_path / "mlip_train")
    touched = apply_examples(tmp_path)
    assert sorted(set(touched)) == [
        "mlip_train/assess/slope.py",
        "mlip_train/config/assessment.py",
        "mlip_train/evaluation/residuals.py",
        "mlip_train/records/errors.py",
    ]
    settings = ["--config", str(REPOSITORY / "pyproject.toml")]
    for command in (["check"], ["format", "--check"]):
        files = [str(tmp_path / file) for file in set(touched)]
        ruff = [sys.executable, "-m", "ruff", *command, *settings, *files]
        found = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


def test_the_schema_knows_the_check_and_the_measure(seen: dict[str, Any]) -> None:
    definitions = seen["schema"]["$defs"]
    assert definitions["Physics"]["properties"]["slope"]["description"] == "Forces are the slope of the energy."
    assert "slope" in definitions["Gate"]["properties"]["require"]["items"]["enum"]
    assert "force_length_rmse" in definitions["Gate"]["properties"]["on"]["items"]["enum"]


def test_the_check_is_made_and_judged(seen: dict[str, Any]) -> None:
    found = {check["name"]: check for check in seen["record"]["checks"]}
    assert found["slope"]["passed"]
    assert found["slope"]["numbers"]["difference_eV_per_A"] < 1e-4
    assert "Forces are the slope of the energy." in seen["page"]
    assert "passed No net force" in seen["stdout"]  # of the step alone


def test_the_measure_is_recorded_and_compared_with_the_parent(seen: dict[str, Any]) -> None:
    errors = seen["record"]["errors"]
    overall = errors["test"]["overall"]
    assert 0 < overall["force_length_rmse"] < overall["force_vector_rmse"]
    assert "force_length_rmse" in {ratio["measure"] for ratio in errors["ratios"]}
    assert "Force length, RMSE" in seen["page"]
