from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlip_train.atoms.structure import Structure
from mlip_train.errors import CorruptFileError
from mlip_train.evaluation.predictions import Graded, Prediction
from mlip_train.evaluation.residual_files import SCHEMA, keep_residuals, read_residuals
from mlip_train.evaluation.residuals import Residual


def residual(number: int, n_atoms: int, is_bulk: bool) -> Residual:
    random = np.random.default_rng(number)
    structure = Structure(
        numbers=np.full(n_atoms, 13 + number % 2, np.int32), positions=random.normal(size=(n_atoms, 3)),
        cell=np.eye(3), pbc=np.full(3, is_bulk), energy=-5.0 * n_atoms, forces=random.normal(size=(n_atoms, 3)),
        stress=np.arange(6.0) if is_bulk else None, config_type=f"type {number}", source="a.extxyz", frame=number,
    )  # fmt: skip
    stress = np.arange(6.0) + 1 if is_bulk else None
    graded = Graded(0.5 * number, 1e-9 * number, 1e-8 * number) if is_bulk else None
    prediction = Prediction(-2.0 * n_atoms, 0.5 * n_atoms, structure.forces + 0.1, stress, graded)
    return Residual(structure, prediction, -3.5 * n_atoms)


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
        assert row["energy_ace"] == pytest.approx(-2.5)
        graded = (row["gamma"], row["energy_difference"], row["force_difference"])
        assert graded == (prediction.graded or (None, None, None))


def test_a_stream_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> object:
        yield residual(1, 2, True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        list(keep_residuals(tmp_path / "r.parquet", broken()))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_an_earlier_version_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path, new = tmp_path / "r.parquet", ["energy_ace", "energy_difference", "force_difference"]
    list(keep_residuals(path, [residual(1, 2, True)]))
    pq.write_table(pq.read_table(path).drop_columns(new), path)
    known = [name for name in SCHEMA.names if name not in new]
    (batch,) = read_residuals(path, known)
    assert batch.num_rows == 1
    with pytest.raises(CorruptFileError, match=r"no column energy_ace, force_difference\); restore it"):
        list(read_residuals(path, ["gamma", "force_difference", "energy_ace"]))


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "r.parquet").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"r\.parquet holds no readable predictions"):
        list(read_residuals(tmp_path / "r.parquet", ["gamma"]))
