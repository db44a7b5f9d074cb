from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlip_train.atoms.pair_potentials import (
    LennardJonesPotential,
    LJParameters,
    PairPotential,
    SwitchRadii,
    ZBLPotential,
)
from mlip_train.potential.lammps import lammps_include
from tests.mlip_train.lammps_program import run_lammps

ZBL = ZBLPotential(radii={"Si-Si": SwitchRadii(inner=1.1, outer=2.4)})
SWITCHES = {"Si-Si": SwitchRadii(inner=1.27, outer=1.82)}
LJ = LennardJonesPotential(r_cut=5.0, parameters={"Si-Si": LJParameters(epsilon=0.1, sigma=2.1)})


def without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_a_plain_potential_needs_no_overlay() -> None:
    text = without_comments(lammps_include("potential_gen_03", ["Al", "Ni"], None, {}))
    assert "hybrid" not in text
    assert '"pair_style pace"' in text
    assert '"pair_coeff * * ${quote}${potentials}/potential_gen_03.yace${quote} Al Ni"' in text
    assert "potential_gen_03.asi${quote} Al Ni" in text


def test_pairs_with_equal_radii_share_a_style() -> None:
    radii = {pair: SwitchRadii(inner=1.0, outer=2.0) for pair in ("Al-Al", "Al-Ni", "Ni-Ni")}
    text = without_comments(lammps_include("p", ["Al", "Ni"], ZBLPotential(radii=radii), {}))
    assert '"pair_style hybrid/overlay pace zbl 1.0 2.0"' in text
    assert re.findall(r"^pair_coeff +(.*)$", text, re.M) == ["1 1 zbl 13 13", "1 2 zbl 13 28", "2 2 zbl 28 28"]


def test_atom_types_are_in_the_order_that_is_told() -> None:
    text = lammps_include("p", ["Al", "Ni"], None, {})
    assert "atom type 1 is Al, type 2 is Ni" in " ".join(text.split("\n# "))


def tabulated(text: str) -> str:
    """The same file with tables, which are read from a file too, for the styles that the wheel does not have."""
    text = re.sub(
        r'pair_style( hybrid/overlay|) pace(/extrapolation|)(?=[ "])', r"pair_style\1 table linear 100", text
    )
    text = re.sub(r"(pair_coeff \* \*) pace(/extrapolation|) ", r"\1 table ", text)
    text = text.replace('.asi${quote} Si"', '.asi${quote}"')
    return re.sub(r'"fix grade .*"', '"variable graded equal 1"', text)


@pytest.fixture
def write_bundle(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a .lmp and the tables that it reads; returns the commands that include it."""

    def write(folder: str, baseline: PairPotential | None) -> list[str]:
        place = tmp_path / folder
        place.mkdir()
        (place / "p.lmp").write_text(tabulated(lammps_include("p", ["Si"], baseline, SWITCHES)))
        nothing = "N 3 R 0.1 10.0\n\n1 0.1 0 0\n2 5.0 0 0\n3 10.0 0 0\n"
        (place / "p.yace").write_text(f"\nSi\n{nothing}")
        (place / "p.yaml").write_text(f"\n{place / 'p.asi'}\n{nothing}")
        return [f'variable potentials index "{place}"', f'include "{place}/p.lmp"']

    return write


@pytest.mark.parametrize(("folder", "grades"), [("folder", False), ("a folder", False), ("folder", True)])
@pytest.mark.parametrize("baseline", [None, ZBL, LJ], ids=["plain", "zbl", "lj"])
def test_lammps_includes_the_file(
    write_bundle: Callable[..., list[str]], baseline: PairPotential | None, folder: str, grades: bool
) -> None:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    commands = [*(["variable grades index yes"] if grades else []), *write_bundle(folder, baseline)]
    results = run_lammps(atoms, commands, ["Si"])
    expected = baseline.compute(atoms) if baseline else None
    assert results.energy == pytest.approx(expected.energy if expected else 0.0, abs=1e-10)
    np.testing.assert_allclose(results.forces, expected.forces if expected else 0.0, atol=1e-10)


def test_lammps_looks_for_the_active_set_in_a_folder_with_a_space(write_bundle: Callable[..., list[str]]) -> None:
    commands = ["variable grades index yes", *write_bundle("a folder", ZBL)]
    with pytest.raises(Exception, match=r"a folder/p\.asi"):  # which is no name of a table
        run_lammps(bulk("Si", cubic=True), commands, ["Si"])


def test_grades_that_say_nothing_are_told_beside_a_baseline_only() -> None:
    beside = " ".join(lammps_include("p", ["Si"], ZBL, SWITCHES).split("\n# "))
    assert (
        "closer than 1.82 Angstrom (Si-Si), ACE fades out beside the baseline, and f_grade says nothing" in beside
    )
    assert "fades out" not in lammps_include("p", ["Si"], None, SWITCHES)
