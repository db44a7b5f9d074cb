"""Whatever is called lmp on somebody's PATH, it is told what came of it, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from mlip_train.assess import lammps_run
from mlip_train.assess.lammps_run import LammpsComparison, compare_with_lammps, find_lammps
from mlip_train.errors import EngineError

PATIENCE = 1.0  # seconds
DUMP = """\
cat > forces.dump << END
ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
{n}
ITEM: BOX BOUNDS ff ff ff
0 9
0 9
0 9
ITEM: ATOMS id type x y z fx fy fz
{lines}
END
"""


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(lammps_run, "_PATIENCE", PATIENCE)
    return folder


def install(folder: Path, script: str) -> Path:
    program = folder / "lmp"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def compare(program: Path, tmp_path: Path) -> LammpsComparison:
    include = tmp_path / "potential.lmp"
    include.touch()
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.2]])
    return compare_with_lammps(program, [include], ["Ar"], atoms, LennardJones())


def results(energy: str = "0", force: str = "0", n: int = 2) -> str:
    lines = "\n".join(f"{i} 1 0 0 {i} {force} 0 0" for i in range(1, n + 1))
    return f'echo "energy {energy}" > energy.txt\n' + DUMP.format(n=n, lines=lines)


def test_what_it_computes_is_compared(bin_directory: Path, tmp_path: Path) -> None:
    found = compare(install(bin_directory, results()), tmp_path)
    assert found.energy > 0.1
    assert found.force > 0.1


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo no license; exit 3", "ended with 3: no license"),
        ("true", "left no energy and forces that can be read"),
        (": > energy.txt", "left no energy and forces that can be read"),
        (results(energy="nan"), r"\(not finite numbers\)"),
        (results(force="inf"), r"\(not finite numbers\)"),
        (results(n=1), r"\(forces on 1 of 2 atoms\)"),
        ("printf '\\377\\376'; exit 1", "ended with 1"),
    ],
)
def test_one_that_does_not_do_its_work_is_named(
    bin_directory: Path, tmp_path: Path, script: str, told: str
) -> None:
    with pytest.raises(EngineError, match=f"bin/lmp .*{told}.* Mend that LAMMPS or take it from the PATH"):
        compare(install(bin_directory, script), tmp_path)


@pytest.mark.parametrize("script", ["exec sleep 30", "sleep 30; true", "sleep 30 & wait"])
def test_one_that_hangs_is_ended_with_all_it_started(bin_directory: Path, tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"bin/lmp did not end within 1 s\. Mend"):
        compare(install(bin_directory, script), tmp_path)
    assert time.monotonic() - began < 10 * PATIENCE


def test_one_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="bin/lmp cannot be run"):
        compare(tmp_path / "bin" / "lmp", tmp_path)


@pytest.mark.parametrize(
    ("script", "is_one"),
    [
        ("echo pair styles: pace zbl", True),
        ("echo pair styles: zbl spaced", False),
        ("printf 'pace \\377'", True),
        ("sleep 30; true", False),
    ],
)
def test_it_is_found_by_what_it_can_do(bin_directory: Path, script: str, is_one: bool) -> None:
    program = install(bin_directory, script)
    assert find_lammps() == (program if is_one else None)
    program.chmod(0o644)
    assert find_lammps() != program
