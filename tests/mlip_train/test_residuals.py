from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mlip_train.evaluation import Residual
from mlip_train.predictions import Graded, Prediction
from mlip_train.residuals import SCHEMA, keep_residuals, read_residuals
from mlip_train.structures import Structure


def residual(number: int, n_atoms: int, is_bulk: bool) -> Residual:
    random = np.random.default_rng(number)
    structure = Structure(
        numbers=np.full(n_atoms, 13 + number % 2, np.int32), positions=random.normal(size=(n_atoms, 3)),
        cell=np.eye(3), pbc=np.full(3, is_bulk), energy=-5.0 * n_atoms, forces=random.normal(size=(n_atoms, 3)),
        stress=np.arange(6.0) if is_bulk else None, config_type=f"type {number}", source="a.extxyz", frame=number,
    )  # fmt: skip
    stress = np.arange(6.0) + 1 if is_bulk else None
    graded = Graded(0.5 * number, 0.0, 0.0) if is_bulk else None
    return Residual(structure, Prediction(-2.0 * n_atoms, structure.forces + 0.1, stress, graded), -3.5 * n_atoms)


def read(path: Path) -> list[dict[str, object]]:
    return pa.Table.from_batches(read_residuals(path, SCHEMA.names), SCHEMA).to_pylist()


@pytest.mark.parametrize("n", [0, 1, 3, 600])
def test_what_passes_by_is_found_in_the_file(tmp_path: Path, n: int) -> None:
    residuals = [residual(number, 1 + number % 5, number % 3 > 0) for number in range(n)]
    assert list(keep_residuals(tmp_path / "r.parquet", residuals)) == residuals
    rows = read(tmp_path / "r.parquet")
    assert len(rows) == n
    for row, kept in zip(rows, residuals, strict=True):
        structure, prediction = kept.structure, kept.prediction
        assert (row["structure_id"], row["frame"]) == (structure.structure_id, structure.frame)
        assert row["numbers"] == structure.numbers.tolist()
        assert row["energy"] == pytest.approx(-1.5)
        assert row["energy_predicted"] == pytest.approx(-2.0)
        assert np.array(row["forces"]) == pytest.approx(structure.forces, abs=1e-6)
        assert np.array(row["forces_predicted"]) == pytest.approx(prediction.forces, abs=1e-6)
        assert row["stress"] == (None if structure.stress is None else structure.stress.tolist())
        assert row["stress_predicted"] == (None if prediction.stress is None else prediction.stress.tolist())
        assert row["gamma"] == (None if prediction.graded is None else prediction.graded.gamma)


def test_a_stream_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> object:
        yield residual(1, 2, True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        list(keep_residuals(tmp_path / "r.parquet", broken()))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
