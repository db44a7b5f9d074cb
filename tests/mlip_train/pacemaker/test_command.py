from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlip_train.errors import EngineNotFoundError
from mlip_train.pacemaker.command import find_engine, shell_lines

# Writes its arguments, each ended by a zero byte, beside itself.
ENGINE = """#!/bin/bash
printf '%s\\0' "$@" > "$(dirname -- "$0")/arguments"
echo printed
echo complained >&2
exit 7
"""

NASTY = [
    "plain",
    "with  two spaces",
    "it's",
    'say "hi"',
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned",
    "a && touch pwned",
    "$HOME",
    "*",
    "-rf",
    "back\\slash",
    "ünï ☃",
]


def make_program(path: Path, content: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def run(lines: list[str], cwd: Path) -> int:
    return subprocess.run(["/bin/bash", "-c", "\n".join(lines)], cwd=cwd, check=False).returncode


@pytest.fixture
def python_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a Python that has no engine beside it."""
    python = make_program(tmp_path / "venv" / "bin" / "python")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return python.parent


def test_the_engine_beside_this_python_is_preferred(tmp_path: Path, python_elsewhere: Path) -> None:
    make_program(tmp_path / "path" / "pacemaker")
    beside = make_program(python_elsewhere / "pacemaker")
    assert find_engine(["pacemaker"]) == [str(beside)]


def test_else_the_engine_is_looked_for_on_the_path(tmp_path: Path, python_elsewhere: Path) -> None:
    on_path = make_program(tmp_path / "path" / "pacemaker")
    assert find_engine(["pacemaker"]) == [str(on_path)]


def test_arguments_of_the_command_are_kept(python_elsewhere: Path) -> None:
    srun = make_program(python_elsewhere / "srun")
    assert find_engine(["srun", "-n", "1", "pacemaker"]) == [str(srun), "-n", "1", "pacemaker"]


def test_a_full_path_is_taken_as_it_is(tmp_path: Path, python_elsewhere: Path) -> None:
    engine = make_program(tmp_path / "opt" / "my engine")
    assert find_engine([str(engine)]) == [str(engine)]


def test_a_relative_path_is_made_absolute_because_the_engine_runs_elsewhere(
    tmp_path: Path, python_elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_program(tmp_path / "opt" / "engine")
    monkeypatch.chdir(tmp_path)
    assert find_engine(["opt/engine"]) == [str(engine)]


@pytest.mark.parametrize("command", [["pacemaker"], ["/nowhere/pacemaker", "-x"]])
def test_a_missing_engine_is_named_with_what_to_do(command: list[str], python_elsewhere: Path) -> None:
    with pytest.raises(EngineNotFoundError) as caught:
        find_engine(command)
    message = str(caught.value)
    assert f"engine.command: {command[0]!r} was not found" in message
    assert sys.executable in message
    assert "make install" in message


def test_a_file_that_cannot_be_run_is_no_engine(python_elsewhere: Path) -> None:
    make_program(python_elsewhere / "pacemaker").chmod(0o644)
    with pytest.raises(EngineNotFoundError):
        find_engine(["pacemaker"])


def test_the_first_line_makes_bash_strict(tmp_path: Path) -> None:
    assert shell_lines(["engine"], tmp_path / "input.yaml", tmp_path / "log.txt")[0] == "set -euo pipefail"


@pytest.mark.parametrize("name", NASTY)
def test_bash_receives_every_name_verbatim(tmp_path: Path, name: str) -> None:
    engine = make_program(tmp_path / name / "bin" / name, ENGINE)
    input_yaml, log = tmp_path / name / "input.yaml", tmp_path / name / "log.txt"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run(shell_lines([str(engine), name, ""], input_yaml, log), elsewhere) == 7
    assert (engine.parent / "arguments").read_text() == "\0".join([name, "", str(input_yaml), ""])
    assert log.read_text() == "printed\ncomplained\n"
    assert not list(tmp_path.rglob("pwned"))
    assert not list(elsewhere.iterdir())


def test_the_log_keeps_what_earlier_attempts_printed(tmp_path: Path) -> None:
    engine = make_program(tmp_path / "engine", ENGINE)
    lines = shell_lines([str(engine)], tmp_path / "input.yaml", tmp_path / "log.txt")
    run(lines, tmp_path)
    run(lines, tmp_path)
    assert (tmp_path / "log.txt").read_text() == 2 * "printed\ncomplained\n"


def test_the_engine_also_starts_where_there_is_no_setpriv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_program(tmp_path / "engine", ENGINE)
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path / "nothing"))
        lines = shell_lines([str(engine)], tmp_path / "input.yaml", tmp_path / "log.txt")
    assert "setpriv" not in lines[1]
    assert run(lines, tmp_path) == 7


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
@pytest.mark.timeout(60)
def test_the_engine_does_not_outlive_a_killed_flow(tmp_path: Path) -> None:
    lifeline = tmp_path / "lifeline"
    os.mkfifo(lifeline)
    engine = make_program(tmp_path / "engine", '#!/bin/bash\nexec 3> "$1"; echo started >&3; exec sleep 30\n')
    lines = shell_lines([str(engine), str(lifeline)], tmp_path / "input.yaml", tmp_path / "log.txt")
    run_lines = "import subprocess, sys; subprocess.run(['/bin/bash', '-c', sys.argv[1]])"
    flow = subprocess.Popen([sys.executable, "-c", run_lines, "\n".join(lines)])
    with lifeline.open() as stream:
        assert stream.readline() == "started\n"
        flow.kill()
        flow.wait()
        killed = time.monotonic()
        assert stream.read() == ""  # nobody is left who could write
    assert time.monotonic() - killed < 10
