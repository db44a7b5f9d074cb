from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlip_train.pacemaker.pickles import read_names, read_predictions, write_data, write_predictions
from tests.mlip_train.alloys import aluminium, checked
from tests.mlip_train.bbasis import config_of, predictions, write_random
from tests.mlip_train.frames import cluster, crystal, structure

ENERGIES = {"Si": -4.5, "Ge": -3.25}


def test_the_data_are_what_the_engine_reads(tmp_path: Path) -> None:
    originals = [
        structure(crystal(a=5.3, stress=np.arange(6.0))), structure(crystal("SiGe")), structure(cluster("Si3"))
    ]  # fmt: skip
    path = tmp_path / "accumulated.pckl.gzip"
    write_data(path, iter(originals), ENERGIES)
    frame = pd.read_pickle(path, compression="gzip")
    assert list(frame.columns) == ["ase_atoms", "energy", "energy_corrected", "forces", "stress", "name"]
    assert list(frame.index) == [0, 1, 2]
    for original, row, shift in zip(originals, frame.itertuples(), (-9.0, -7.75, -13.5), strict=True):
        assert row.ase_atoms == original.to_atoms()
        assert isinstance(row.ase_atoms, Atoms)
        assert row.ase_atoms.calc is None
        assert row.energy == original.energy
        assert row.energy_corrected == original.energy - shift
        np.testing.assert_array_equal(row.forces, original.forces)
        assert row.name == original.structure_id
    np.testing.assert_array_equal(frame["stress"][0], np.arange(6.0))
    assert list(frame["stress"][1:]) == [None, None]
    assert read_names(path) == {original.structure_id for original in originals}


def test_without_structures_the_columns_are_there(tmp_path: Path) -> None:
    write_data(tmp_path / "test", [], ENERGIES)
    assert "ase_atoms" in pd.read_pickle(tmp_path / "test", compression="gzip").columns


def test_rebuilt_data_have_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = [*(structure(crystal(a=a)) for a in (5.3, 5.4, 5.5)), structure(cluster())]
    path = tmp_path / "accumulated.pckl.gzip"
    write_data(path, structures, ENERGIES)
    one = path.read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_data(path, structures, ENERGIES)
    two = path.read_bytes()
    assert gzip.decompress(one) == gzip.decompress(two)
    assert one == two


def test_predictions_are_written_as_the_engine_writes_its_own(tmp_path: Path) -> None:
    structures, path = checked(aluminium(3)), tmp_path / "train_pred.pckl.gzip"
    potential = write_random(tmp_path / "fitted.yaml", config_of(["Al"]))
    write_predictions(path, potential, structures)
    table = pd.read_pickle(path, compression="gzip")
    assert list(table["name"]) == [one.structure_id for one in structures]
    expected = predictions(potential, structures)[0]
    assert np.allclose(table["energy_pred"], expected)
    assert read_names(path) == {one.structure_id for one in structures}
    names, energies = zip(*read_predictions(path), strict=True)
    assert list(names) == list(table["name"])
    assert energies == pytest.approx(expected)


def test_predictions_of_the_engine_are_arrays_of_one_number(tmp_path: Path) -> None:
    path = tmp_path / "train_pred.pckl.gzip"
    table = pd.DataFrame({"name": ["a", "b"], "energy_pred": [np.array([-1.5]), np.array([[-2.5]])]})
    table.to_pickle(path, compression="gzip", protocol=4)
    assert list(read_predictions(path)) == [("a", -1.5), ("b", -2.5)]
