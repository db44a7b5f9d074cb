from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.pacemaker.interim import discard_interim, keep_interim, resumable
from tests.mlip_train.bbasis import write_bbasis


def metrics(rows: int, loss: float = 0.5, n_functions: int = 6) -> pd.DataFrame:
    return pd.DataFrame({"iter_num": range(rows), "loss": loss, "nfuncs": n_functions})


@pytest.fixture
def run(tmp_path: Path) -> GenerationDirectory:
    (tmp_path / "scratch").mkdir()
    write_bbasis(tmp_path / "scratch" / "target_potential.yaml", scale=0.0)
    write_bbasis(tmp_path / "scratch" / "interim_potential_0.yaml")
    return GenerationDirectory(tmp_path)


def test_a_whole_potential_is_kept_with_how_far_it_came(run: GenerationDirectory) -> None:
    kept = keep_interim(run, "this fit", metrics(5), iterations_before=10)
    assert kept is not None
    assert (kept.iterations, kept.loss, kept.complete) == (14, 0.5, True)
    assert run.interim_potential.read_bytes() == (run.scratch / "interim_potential_0.yaml").read_bytes()
    assert resumable(run, "this fit") == kept


def test_a_torn_potential_leaves_the_good_one(run: GenerationDirectory) -> None:
    good = keep_interim(run, "this fit", metrics(5), 0)
    interim = run.scratch / "interim_potential_0.yaml"
    whole = interim.read_text()
    for torn in (whole[: len(whole) // 2], "", "metadata:\n"):
        interim.write_text(torn)
        assert keep_interim(run, "this fit", metrics(7), 0) is None
    assert resumable(run, "this fit") == good
    assert run.interim_potential.read_text() == whole


@pytest.mark.parametrize(
    "seen", [metrics(0), metrics(1), metrics(5, loss=float("nan")), metrics(5, n_functions=7)]
)
def test_nothing_is_kept_before_an_iteration_or_of_a_broken_one(
    run: GenerationDirectory, seen: pd.DataFrame
) -> None:
    assert keep_interim(run, "this fit", seen, 0) is None
    assert resumable(run, "this fit") is None


def test_a_ladder_that_is_still_climbing_is_marked_incomplete(run: GenerationDirectory) -> None:
    target = run.scratch / "target_potential.yaml"
    larger = target.read_text()
    line = next(line for line in larger.splitlines() if line.strip().startswith("- {type"))
    target.write_text(larger.replace(line, f"{line}\n{line}", 1))
    kept = keep_interim(run, "this fit", metrics(5), 0)
    assert kept is not None
    assert not kept.complete


def test_another_fit_cannot_resume_from_it(run: GenerationDirectory) -> None:
    keep_interim(run, "this fit", metrics(5), 0)
    assert resumable(run, "another fit") is None
    discard_interim(run)
    assert resumable(run, "this fit") is None
    assert not run.interim_potential.exists()
