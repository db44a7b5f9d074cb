"""Unconverged calculations, as the formats tell of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import ase.db
import ase.io
import pytest

from tests.mlip_train.frames import espresso, outcar, vasprun
from tests.mlip_train.intake.batches import UNCONVERGED, read, reasons, steps, write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vasprun.xml", vasprun(steps(3), [12, 60, 59])),
        ("vasprun.xml", vasprun(steps(3), [12, 100, 99], nelm=100)),
        ("OUTCAR", outcar(steps(3), [True, False, True])),
        ("OUTCAR", outcar(steps(3), [True, None, True])),
        ("pw.out", espresso(steps(3), [True, False, True])),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_steps_that_did_not_converge_are_refused(tmp_path: Path, name: str, text: str, packed: bool) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    batch = read(path)
    assert [s.frame for s in batch.structures] == [0, 2]
    assert [(r.frame, r.reason) for r in batch.refusals] == [(1, UNCONVERGED)]


def test_an_unconverged_step_is_refused_in_the_outcar_of_a_killed_run_too(tmp_path: Path) -> None:
    text = outcar(steps(3), [True, False, True])
    (tmp_path / "OUTCAR").write_text(text[: text.rindex("  FREE ENERGIE")])
    batch = read(tmp_path)
    assert (1, UNCONVERGED) in [(r.frame, r.reason) for r in batch.refusals]


@pytest.mark.parametrize(("cut", "taken"), [("<structure>", [0]), ("</calculation>", [0, 2])])
def test_the_finished_steps_of_a_killed_vasp_run_are_taken(tmp_path: Path, cut: str, taken: list[int]) -> None:
    text = vasprun(steps(3), [12, 60, 12])
    (tmp_path / "vasprun.xml").write_text(text[: text.rindex(cut)])
    batch = read(tmp_path)
    assert [s.frame for s in batch.structures] == taken
    assert reasons(batch) == [UNCONVERGED]


def test_a_hybrid_functional_converges_more_than_once_per_step(tmp_path: Path) -> None:
    text = espresso(steps(3), [True, True, False])
    once = "     convergence has been achieved in  11 iterations\n"
    again = f"{once}\n     EXX: now go back to refine exchange calculation\n\n{once}"
    (tmp_path / "pw.out").write_text(text.replace(once, again, 1))
    batch = read(tmp_path)
    assert [s.frame for s in batch.structures] == [0, 1]
    assert reasons(batch) == [UNCONVERGED]


@pytest.mark.parametrize("word", ["F", "False", "false", "no", "0", '"not yet"', '"1 0"'])
def test_unconverged_can_be_said_in_many_ways(tmp_path: Path, word: str) -> None:
    path = write(tmp_path / "a.extxyz")
    path.write_text(path.read_text().replace("energy=", f"converged={word} energy="))
    assert reasons(read(path)) == [UNCONVERGED] * 2


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_a_frame_can_say_that_it_did_not_converge(tmp_path: Path, suffix: str) -> None:
    frames = steps(3)
    frames[0].info["converged"], frames[1].info["converged"] = True, False
    ase.io.write(tmp_path / f"a.{suffix}", frames)
    batch = read(tmp_path)
    assert [s.frame for s in batch.structures] == [0, 2]
    assert reasons(batch) == [UNCONVERGED]


@pytest.mark.parametrize("suffix", ["db", "json"])
def test_a_database_row_can_say_that_it_did_not_converge(tmp_path: Path, suffix: str) -> None:
    with ase.db.connect(tmp_path / f"a.{suffix}") as database:
        for number, atoms in enumerate(steps(2)):
            database.write(atoms, converged=number == 0)
    batch = read(tmp_path)
    assert [s.frame for s in batch.structures] == [0]
    assert reasons(batch) == [UNCONVERGED]
