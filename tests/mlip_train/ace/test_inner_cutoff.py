from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlip_train.ace.bbasis import export_yace, load_bbasis
from mlip_train.ace.inner_cutoff import close_bbasis
from mlip_train.ace.library import PyACECalculator
from mlip_train.ace.warm_start import prepare_start
from mlip_train.atoms.pair_potentials import SwitchRadii, ZBLPotential
from tests.mlip_train.bbasis import config_of, write_random

RADII = {
    "Al-Al": SwitchRadii(inner=1.2, outer=2.0),
    "Al-Ni": SwitchRadii(inner=1.0, outer=1.8),
    "Ni-Ni": SwitchRadii(inner=1.4, outer=1.6),
}


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    return write_random(tmp_path / "fitted.yaml", config_of(["Al", "Ni"]), scale=0.5)


def dimer(potential: Path, pair: str, r: float) -> float:
    calculator = PyACECalculator(str(potential))
    calculator.calculate(Atoms(pair.split("-"), positions=[[0, 0, 0], [0, 0, r]]))
    return float(calculator.results["energy"])


@pytest.mark.parametrize("suffix", [".yaml", ".yace"])
@pytest.mark.parametrize("pair", list(RADII))
def test_zbl_takes_over_below_the_switch_and_nothing_changes_above(fitted: Path, pair: str, suffix: str) -> None:
    closed = fitted.with_name("closed.yaml")
    close_bbasis(fitted, closed, "zbl", RADII)
    export_yace(closed, closed.with_suffix(".yace"))
    inner, outer = RADII[pair].inner, RADII[pair].outer
    unswitched = ZBLPotential(radii={pair: SwitchRadii(inner=20.0, outer=21.0)})
    repulsion, _ = unswitched.pair_energy(pair, np.array([inner - 0.1]))
    assert dimer(closed.with_suffix(suffix), pair, inner - 0.1) == pytest.approx(repulsion[0], rel=1e-3)
    assert dimer(closed, pair, outer) == pytest.approx(dimer(fitted, pair, outer), abs=1e-12)
    assert dimer(closed.with_suffix(suffix), pair, outer + 0.01) == pytest.approx(
        dimer(fitted, pair, outer + 0.01), abs=1e-6
    )


@pytest.mark.parametrize("pair", list(RADII))
def test_ace_fades_out_below_the_switch_and_nothing_changes_above(fitted: Path, pair: str) -> None:
    closed = fitted.with_name("closed.yaml")
    close_bbasis(fitted, closed, "distance", RADII)
    inner, outer = RADII[pair].inner, RADII[pair].outer
    assert dimer(fitted, pair, inner - 0.1) != 0.0
    assert dimer(closed, pair, inner - 0.1) == 0.0
    assert {block.inner_cutoff_type for block in load_bbasis(closed).funcspecs_blocks} == {"distance"}
    assert dimer(closed, pair, outer) == pytest.approx(dimer(fitted, pair, outer), abs=1e-12)


@pytest.mark.parametrize("closing", ["zbl", "distance"])
def test_a_closed_potential_is_opened_before_it_is_fitted_again(fitted: Path, closing: str) -> None:
    closed, opened = fitted.with_name("closed.yaml"), fitted.with_name("opened.yaml")
    close_bbasis(fitted, closed, closing, RADII)  # type: ignore[arg-type]
    prepare_start(closed, opened)
    for pair in RADII:
        for r in (0.7, 1.5, 2.2):
            assert dimer(opened, pair, r) == pytest.approx(dimer(fitted, pair, r), abs=1e-12)
    assert load_bbasis(closed).get_all_coeffs() == load_bbasis(fitted).get_all_coeffs()
