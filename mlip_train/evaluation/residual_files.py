"""Predictions beside their DFT values, kept as Parquet for parity plots and whatever else people look at."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlip_train.base.files import atomic_path
from mlip_train.errors import CorruptFileError
from mlip_train.evaluation.predictions import Graded
from mlip_train.evaluation.residuals import Residual

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
        # what tells whether files agree; those of versions before 0.2 lack these three
        pa.field("energy_ace", pa.float64(), nullable=False),  # eV/atom, predicted without a baseline
        pa.field("energy_difference", pa.float64()),  # eV/atom, between the B-basis and the exported file
        pa.field("force_difference", pa.float64()),  # eV/Å, the same, largest component
    ]
)
_ROWS_AT_ONCE: Final = 256  # in memory


def keep_residuals(path: Path, residuals: Iterable[Residual]) -> Iterator[Residual]:
    """Pass residuals on, and write them to a Parquet file on the way; it is there when all have passed."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        waiting: list[Residual] = []
        for residual in residuals:
            waiting.append(residual)
            if len(waiting) == _ROWS_AT_ONCE:
                writer.write_table(_as_table(waiting))
                waiting.clear()
            yield residual
        if waiting:
            writer.write_table(_as_table(waiting))


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


def _as_table(residuals: Sequence[Residual]) -> pa.Table:
    structures, predictions = [r.structure for r in residuals], [r.prediction for r in residuals]
    n_atoms = [len(structure.numbers) for structure in structures]
    columns = {
        "structure_id": [structure.structure_id for structure in structures],
        "source": [structure.source for structure in structures],
        "frame": [structure.frame for structure in structures],
        "config_type": [structure.config_type for structure in structures],
        "numbers": _lists([structure.numbers for structure in structures], np.int16),
        "energy": [(r.structure.energy - r.reference) / n for r, n in zip(residuals, n_atoms, strict=True)],
        "energy_ace": [(p.energy - p.baseline_energy) / n for p, n in zip(predictions, n_atoms, strict=True)],
        "energy_predicted": [p.energy / n for p, n in zip(predictions, n_atoms, strict=True)],
        "forces": _lists([structure.forces for structure in structures], np.float32),
        "forces_predicted": _lists([prediction.forces for prediction in predictions], np.float32),
        "stress": [structure.stress for structure in structures],
        "stress_predicted": [prediction.stress for prediction in predictions],
        **{name: [getattr(p.graded, name, None) for p in predictions] for name in Graded._fields},
    }
    return pa.table(columns, SCHEMA)


def _lists(arrays: Sequence[NDArray[Any]], kind: type[np.number[Any]]) -> pa.ListArray:
    """One list per array, of numbers or of vectors; by way of Python objects it would take ten times as long."""
    flat = np.concatenate(arrays)
    values = pa.array(flat.astype(kind).ravel())
    if flat.ndim == 2:
        values = pa.FixedSizeListArray.from_arrays(values, flat.shape[1])
    return pa.ListArray.from_arrays(np.cumsum([0, *map(len, arrays)]).astype(np.int32), values)
