"""How the command line speaks of errors."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from mlip_train.errors import EngineError, InputError, MlipTrainError, RejectedPotentialError

STATUS = ["status", "nowhere", "--json"]
PLACES = [["--traceback", *STATUS], ["status", "--traceback", "nowhere", "--json"], [*STATUS, "--traceback"]]


def mlip_train(arguments: Sequence[str]) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Exception:
    """What opening a campaign comes to."""
    error: Exception = request.param

    def open_it(root: Path) -> None:
        raise error

    # not by its name: that of the module is that of the program, too
    monkeypatch.setattr(importlib.import_module("deployments.cli.commands"), "Campaign", open_it)
    return error


ERRORS = [
    (MlipTrainError("so it is"), 1),
    (InputError("so it is"), 2),
    (EngineError("so it is"), 3),
    (RejectedPotentialError("so it is"), 4),
    (PermissionError("so it is"), 1),
    (httpx.ConnectError("so it is"), 1),
]


@pytest.mark.parametrize(("fails", "code"), ERRORS, indirect=["fails"], ids=repr)
def test_an_error_is_a_message_and_an_exit_code(fails: Exception, code: int) -> None:
    done = mlip_train(["status", "somewhere"])
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Error: " in done.stderr
    assert "so it is" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("fails", "code"), ERRORS, indirect=["fails"], ids=repr)
def test_a_script_is_told_the_error_too(fails: Exception, code: int) -> None:
    done = mlip_train(["status", "somewhere", "--json"])
    answer = json.loads(done.stdout)
    assert done.exit_code == code
    assert answer["error"] == type(fails).__name__
    assert answer["status"] == ("rejected" if code == 4 else "failed")
    assert "so it is" in answer["message"]


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
def test_a_traceback_is_shown_where_it_is_asked_for_in_any_place(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain, traced, again = mlip_train(STATUS), mlip_train(arguments), mlip_train(STATUS)
    assert traced.exit_code == plain.exit_code == 2
    assert traced.stdout == plain.stdout
    assert json.loads(traced.stdout)["error"] == "CampaignNotFoundError"
    assert "Traceback (most recent call last)" in traced.stderr
    assert "campaign.py" in traced.stderr
    assert "CampaignNotFoundError: " in traced.stderr
    assert "".join(traced.stderr.split()).endswith("".join(plain.stderr.split()))  # the message stands last
    assert again.stderr == plain.stderr  # it is asked for anew each time
    assert "Traceback" not in plain.stderr


@pytest.mark.parametrize(("fails", "code"), ERRORS, indirect=["fails"], ids=repr)
def test_a_traceback_changes_no_exit_code(fails: Exception, code: int) -> None:
    done = mlip_train(["status", "somewhere", "--traceback"])
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Traceback" in done.stderr
    assert f"{type(fails).__name__}: so it is" in done.stderr


def test_without_an_error_there_is_no_traceback() -> None:
    plain, traced = mlip_train(["schema"]), mlip_train(["schema", "--traceback"])
    assert (traced.exit_code, traced.stdout, traced.stderr) == (0, plain.stdout, "")


def test_the_option_is_in_the_help() -> None:
    assert "--traceback" in mlip_train(["--help"]).output


def test_no_command_at_all_is_told_the_commands() -> None:
    assert "evaluate" in mlip_train([]).output
