"""The command line as people and scripts meet it: exit codes, stdout and stderr."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from mlip_train import Campaign

MLIP_TRAIN = Path(sys.executable).with_name("mlip-train")


class Answer(NamedTuple):
    """What a command ended with and said."""

    returncode: int
    stdout: str
    stderr: str


MakeCampaign = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


def mlip_train(*arguments: object, api: str | None = None, cwd: Path | None = None) -> Answer:
    """Run a command: as a process of its own where it needs a server, else in this one."""
    words = list(map(str, arguments))
    if api is not None:
        environment = {**os.environ, "COLUMNS": "100", "PREFECT_API_URL": f"{api}/api"}
        command = [str(MLIP_TRAIN), *words]
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)
    with contextlib.chdir(cwd or Path.cwd()), patch.object(sys, "argv", [str(MLIP_TRAIN), *words]):
        answer = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return Answer(answer.exit_code, answer.stdout, answer.stderr)


def test_a_campaign_from_init_to_evaluate(
    make_campaign: MakeCampaign, write_batch: WriteBatch, prefect_server: str
) -> None:
    campaign = make_campaign()
    data = write_batch(0, 6)

    done = mlip_train("run", campaign.root, data, api=prefect_server)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{campaign.potentials / 'potential_gen_01.yace'}\n"
    for told in (
        "6 new structures",
        "Generation 1",
        "Trained generation 1",
        "Published",
        "in Prefect",
    ):
        assert told in done.stderr
    for noise in ("httpx", "Beginning flow run", "Finished in state", "PID"):
        assert noise not in done.stderr

    again = mlip_train("run", campaign.root, data, "--json", api=prefect_server)
    assert again.returncode == 0
    answer = json.loads(again.stdout)
    assert answer["status"] == "skipped"
    assert answer["potential"] == str(campaign.potentials / "potential_gen_01.yace")
    assert answer["flow_run"].startswith(prefect_server)

    shown = mlip_train("status", campaign.root)
    assert shown.stdout == ""
    assert str(campaign.potentials / "potential_gen_01.yace") in shown.stderr
    status = json.loads(mlip_train("status", campaign.root, "--json").stdout)
    assert [row["state"] for row in status["generations"]] == ["accepted"]
    assert status["train"] + status["test"] == 6

    on_test = json.loads(mlip_train("evaluate", campaign.root, "--json").stdout)
    assert on_test["errors"] == status["generations"][0]["errors"]["test"]
    on_data = mlip_train("evaluate", campaign.root, write_batch(10, 12), "--json")
    assert json.loads(on_data.stdout)["errors"]["overall"]["n_structures"] == 2
    assert "force MAE" in mlip_train("evaluate", campaign.root).stderr


def test_errors_beside_a_baseline_are_those_of_the_sum(
    make_campaign: MakeCampaign, write_batch: WriteBatch, prefect_server: str
) -> None:
    silicon = {"Si-Si": {"epsilon": 0.1, "sigma": 2.0}}
    campaign = make_campaign(reference={"kind": "lj", "cutoff": 4.5, "pairs": silicon})
    done = mlip_train("run", campaign.root, write_batch(0, 6), api=prefect_server)
    assert done.returncode == 0, done.stderr
    (generation,) = json.loads(mlip_train("status", campaign.root, "--json").stdout)["generations"]
    evaluated = json.loads(mlip_train("evaluate", campaign.root, "--json").stdout)
    assert evaluated["errors"] == generation["errors"]["test"]


def test_a_failed_engine_is_exit_3_with_the_end_of_its_log(
    make_campaign: MakeCampaign, write_batch: WriteBatch, prefect_server: str
) -> None:
    campaign = make_campaign(environment={"STANDIN_FAILS": "crash_at_start"})
    done = mlip_train("run", campaign.root, write_batch(0, 6), api=prefect_server)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("this is the reason of the crash") == 1
    assert "Traceback" not in done.stderr
    as_json = mlip_train("run", campaign.root, write_batch(0, 6), "--json", api=prefect_server)
    assert as_json.returncode == 3
    assert json.loads(as_json.stdout)["error"] == "TrainingFailedError"
    assert "not finished" in mlip_train("status", campaign.root).stderr


def test_bad_data_are_exit_2_and_name_file_and_frame(
    make_campaign: MakeCampaign, tmp_path: Path, prefect_server: str
) -> None:
    campaign = make_campaign()
    (tmp_path / "foreign.extxyz").write_text(
        '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 pbc="T T T"\n'
        "Al 0 0 0 0 0 0\n"
    )
    done = mlip_train("run", campaign.root, tmp_path / "foreign.extxyz", api=prefect_server)
    assert done.returncode == 2
    assert "foreign.extxyz frame 0: it contains Al" in done.stderr
    assert len(campaign.store) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nowhere", "x.extxyz"], "is not a campaign"),
        (["status", "nowhere"], "mlip-train init"),
        (["init", "new", "--elements", "Sj"], "'Sj' is not a chemical element"),
        (["init", "new", "--elements", "Si", "--preset", "fast"], "preset"),
        (["validate", "missing.extxyz"], "does not exist"),
        (["validate", ""], "an empty name was given"),
        (["validate", "~no_such_user/x.extxyz"], "does not exist"),
        (["run"], "Missing argument"),
    ],
)
def test_mistakes_are_exit_2_and_told_in_words(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = mlip_train(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_campaign_yaml_is_told_before_anything_starts(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign()
    campaign.config_file.write_text("elements: [Si]\nbasis: {cutof: 5}\n")
    done = mlip_train("run", campaign.root, "x.extxyz")
    assert done.returncode == 2
    assert "did you mean 'cutoff'?" in done.stderr


def test_init_makes_a_campaign_that_is_valid_and_explains_itself(tmp_path: Path) -> None:
    done = mlip_train("init", "alloy", "--elements", "Ni,Al", "--preset", "quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Campaign(tmp_path / "alloy").config.elements == ("Al", "Ni")
    assert "mlip-train run alloy" in done.stderr
    again = mlip_train("init", "alloy", "--elements", "Ni", cwd=tmp_path)
    assert again.returncode == 2
    assert "is a campaign already" in again.stderr


def test_validate_tells_what_would_be_refused(write_batch: WriteBatch, tmp_path: Path) -> None:
    assert mlip_train("validate", write_batch(0, 3)).returncode == 0
    (tmp_path / "rest.pckl.gzip").write_bytes(b"anything")
    done = mlip_train("validate", write_batch(0, 3), tmp_path / "rest.pckl.gzip")
    assert done.returncode == 2
    assert "it is a pickle" in done.stderr


def test_schema_is_json_on_stdout() -> None:
    schema = json.loads(mlip_train("schema").stdout)
    assert schema["required"] == ["elements"]
    assert "Å" in schema["$defs"]["Basis"]["properties"]["cutoff"]["description"]


def test_evaluate_before_the_first_potential(make_campaign: MakeCampaign) -> None:
    done = mlip_train("evaluate", make_campaign().root)
    assert done.returncode == 2
    assert "no accepted potential" in done.stderr


@pytest.mark.usefixtures("real_engine")
def test_doctor_finds_this_machine_ready() -> None:
    done = mlip_train("doctor")
    assert done.returncode == 0, done.stderr
    for looked_at in ("packages", "pacemaker", "TensorFlow", "Prefect"):
        assert looked_at in done.stderr


def test_an_empty_name_is_not_the_current_directory(
    make_campaign: MakeCampaign, write_batch: WriteBatch, prefect_server: str
) -> None:
    campaign = make_campaign()
    done = mlip_train("run", campaign.root, "", api=prefect_server, cwd=write_batch(0, 2).parent)
    assert done.returncode == 2
    assert "an empty name was given" in done.stderr
    assert len(campaign.store) == 0


def test_an_unreachable_server_is_named(make_campaign: MakeCampaign, write_batch: WriteBatch) -> None:
    done = mlip_train("run", make_campaign().root, write_batch(0, 2), api="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "PREFECT_API_URL is http://127.0.0.1:9/api" in done.stderr
