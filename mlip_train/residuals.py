"""Predictions beside their DFT values, kept as Parquet for parity plots and whatever else people look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlip_train.errors import CorruptFileError
from mlip_train.evaluation import Residual
from mlip_train.files import atomic_path

__all__ = ["SCHEMA", "keep_residuals", "read_residuals"]

_VECTORS = pa.list_(pa.list_(pa.float32(), 3))
_STRESS = pa.list_(pa.float32())
SCHEMA: Final = pa.schema(
    [
        pa.field("structure_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("config_type", pa.string(), nullable=False),
        pa.field("numbers", pa.list_(pa.int16()), nullable=False),
        pa.field("energy", pa.float64(), nullable=False),  # eV/atom, DFT, relative to the reference energies
        pa.field("energy_predicted", pa.float64(), nullable=False),  # eV/atom, the same
        pa.field("forces", _VECTORS, nullable=False),  # eV/Å
        pa.field("forces_predicted", _VECTORS, nullable=False),  # eV/Å
        pa.field("stress", _STRESS),  # eV/Å³, Voigt xx yy zz yz xz xy, ASE sign
        pa.field("stress_predicted", _STRESS),  # eV/Å³
        pa.field("gamma", pa.float32()),  # largest extrapolation grade in the structure
    ]
)
_ROWS_AT_ONCE: Final = 256  # in memory


def keep_residuals(path: Path, residuals: Iterable[Residual]) -> Iterator[Residual]:
    """Pass residuals on, and write them to a Parquet file on the way; it is there when all have passed."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        rows: list[dict[str, Any]] = []
        for residual in residuals:
            rows.append(_to_row(residual))
            if len(rows) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()
            yield residual
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def read_residuals(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Stream columns of a file that `keep_residuals` wrote.

    Raises
    ------
    CorruptFileError
        When it cannot be read, or lacks one of them.
    """
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(columns) - set(file.schema_arrow.names):
                raise pa.ArrowInvalid(f"no column {', '.join(sorted(missing))}")
            yield from file.iter_batches(_ROWS_AT_ONCE, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise CorruptFileError(
            f"{path} holds no readable predictions ({error}); restore it from a backup, or remove it, and the "
            "pages are written without its pictures"
        ) from error


def _to_row(residual: Residual) -> dict[str, Any]:
    structure, prediction = residual.structure, residual.prediction
    n_atoms = len(structure.numbers)
    return {
        "structure_id": structure.structure_id,
        "source": structure.source,
        "frame": structure.frame,
        "config_type": structure.config_type,
        "numbers": structure.numbers.astype(np.int16),
        "energy": (structure.energy - residual.reference) / n_atoms,
        "energy_predicted": prediction.energy / n_atoms,
        "forces": list(structure.forces.astype(np.float32)),
        "forces_predicted": list(prediction.forces.astype(np.float32)),
        "stress": structure.stress,
        "stress_predicted": prediction.stress,
        "gamma": None if prediction.graded is None else prediction.graded.gamma,
    }
