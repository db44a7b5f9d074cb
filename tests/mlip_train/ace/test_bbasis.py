from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_train.ace.bbasis import coefficients_of, export_yace, load_bbasis
from mlip_train.ace.warm_start import prepare_start
from mlip_train.errors import EngineError
from tests.mlip_train.bbasis import write_bbasis


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_bbasis(tmp_path / "whole.yaml")
    whole = (tmp_path / "whole.yaml").read_text()
    for share in (0.0, 0.2, 0.5):
        (tmp_path / "torn.yaml").write_text(whole[: int(share * len(whole))])
        with pytest.raises(EngineError, match=r"torn\.yaml"):
            load_bbasis(tmp_path / "torn.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.yaml"):
        load_bbasis(tmp_path / "none.yaml")


def test_coefficients_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    write_bbasis(tmp_path / "p.yaml")
    whole = (tmp_path / "p.yaml").read_text()
    for broken in (".nan", ".inf", "nan"):
        (tmp_path / "p.yaml").write_text(whole.replace("[[[1, 0, 0, 0]]", f"[[[{broken}, 0, 0, 0]]"))
        with pytest.raises(EngineError, match=r"p\.yaml"):
            load_bbasis(tmp_path / "p.yaml")


def test_a_start_carries_the_parents_coefficients_and_nothing_that_stops_or_bends_the_fit(tmp_path: Path) -> None:
    configuration = write_bbasis(tmp_path / "parent.yaml")
    configuration.metadata["_fit_cycles"] = "1"
    configuration.metadata["_loss"] = "0.1"
    block = configuration.funcspecs_blocks[0]
    block.r_in, block.delta_in, block.inner_cutoff_type = 1.9, 0.1, "zbl"
    block.core_rep_parameters = [1.0, 1.0]
    block.rho_cut, block.drho_cut = 5.0, 1.0
    configuration.save(str(tmp_path / "parent.yaml"))

    prepare_start(tmp_path / "parent.yaml", tmp_path / "start.yaml")

    start = load_bbasis(tmp_path / "start.yaml")
    assert not {"_fit_cycles", "_loss"} & set(dict(start.metadata.items()))
    stripped = start.funcspecs_blocks[0]
    assert (stripped.r_in, stripped.delta_in, stripped.inner_cutoff_type) == (0.0, 0.0, "distance")
    assert list(stripped.core_rep_parameters) == [0.0, 0.0]
    assert (stripped.rho_cut, stripped.drho_cut) == (1e5, 250.0)
    np.testing.assert_array_equal(
        coefficients_of(tmp_path / "start.yaml"), coefficients_of(tmp_path / "parent.yaml")
    )


def test_the_exported_file_predicts_what_the_bbasis_does(tmp_path: Path) -> None:
    from ase.build import bulk

    from mlip_train.ace.library import PyACECalculator

    write_bbasis(tmp_path / "p.yaml")
    export_yace(tmp_path / "p.yaml", tmp_path / "p.yace")
    energies = []
    for name in ("p.yaml", "p.yace"):
        atoms = bulk("Si").repeat(2)
        atoms.rattle(0.1, seed=2)
        atoms.calc = PyACECalculator(str(tmp_path / name))
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)
    assert energies[0] != 0
    assert {p.name for p in tmp_path.iterdir()} == {"p.yaml", "p.yace"}
