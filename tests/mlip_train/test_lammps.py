from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlip_train.lammps import lammps_include
from mlip_train.priors import LennardJonesPotential, LJParameters, PairPotential, SwitchRadii, ZBLPotential
from tests.mlip_train.lammps_program import run_lammps

ZBL = ZBLPotential(radii={"Si-Si": SwitchRadii(inner=1.1, outer=2.4)})
LJ = LennardJonesPotential(r_cut=5.0, parameters={"Si-Si": LJParameters(epsilon=0.1, sigma=2.1)})


def without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_a_plain_potential_needs_no_overlay() -> None:
    text = without_comments(lammps_include("potential_gen_03", ["Al", "Ni"], None))
    assert "hybrid" not in text
    assert '"pair_style pace"' in text
    assert "\"pair_coeff * * '${potentials}/potential_gen_03.yace' Al Ni\"" in text
    graded = "\"pair_coeff * * '${potentials}/potential_gen_03.yaml' '${potentials}/potential_gen_03.asi' Al Ni\""
    assert graded in text


def test_pairs_with_equal_radii_share_a_style() -> None:
    radii = {pair: SwitchRadii(inner=1.0, outer=2.0) for pair in ("Al-Al", "Al-Ni", "Ni-Ni")}
    text = without_comments(lammps_include("p", ["Al", "Ni"], ZBLPotential(radii=radii)))
    assert '"pair_style hybrid/overlay pace zbl 1.0 2.0"' in text
    assert re.findall(r"^pair_coeff +(.*)$", text, re.M) == ["1 1 zbl 13 13", "1 2 zbl 13 28", "2 2 zbl 28 28"]


def test_atom_types_are_in_the_order_that_is_told() -> None:
    text = lammps_include("p", ["Al", "Ni"], None)
    assert "atom type 1 is Al, type 2 is Ni" in " ".join(text.split("\n# "))


@pytest.mark.parametrize("grades", [False, True])
@pytest.mark.parametrize("baseline", [None, ZBL, LJ], ids=["plain", "zbl", "lj"])
def test_lammps_includes_the_file(tmp_path: Path, baseline: PairPotential | None, grades: bool) -> None:
    """In the place of the pair style, which the wheel of LAMMPS does not have, is one that does nothing."""
    text = lammps_include("potential_gen_01", ["Si"], baseline)
    asked, suffix = ("pace/extrapolation", "asi") if grades else ("pace", "yace")
    text = re.sub(rf'"pair_style( hybrid/overlay|) {asked}(?=[ "])', r'"pair_style\1 zero 5.0', text)
    text = re.sub(rf'"pair_coeff .*{suffix}\' Si"', f'"pair_coeff * *{" zero" if baseline else ""}"', text)
    text = re.sub(r'"fix grade .*"', '"variable graded equal 1"', text)
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "potential_gen_01.lmp").write_text(text)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    include = [f'variable potentials index "{folder}"', f'include "{folder}/potential_gen_01.lmp"']
    commands = [*(["variable grades index yes"] if grades else []), *include]
    results = run_lammps(atoms, commands, ["Si"])
    expected = baseline.compute(atoms) if baseline else None
    assert results.energy == pytest.approx(expected.energy if expected else 0.0, abs=1e-10)
    np.testing.assert_allclose(results.forces, expected.forces if expected else 0.0, atol=1e-10)
