"""The engine's own tables, gzip pickles of a DataFrame: its data, and the predictions that it leaves."""

import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
import pandas as pd

from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base.files import atomic_path

__all__ = ["read_names", "read_predictions", "write_data", "write_predictions", "write_weighted_data"]

_COLUMNS = ["ase_atoms", "energy", "energy_corrected", "forces", "stress", "name"]


def write_data(path: Path, structures: Iterable[Structure], reference_energies: Mapping[str, float]) -> None:
    """Write structures for the engine.

    Columns are `ase_atoms`, `energy` (eV, total), `energy_corrected` (eV, minus the pinned reference energies),
    `forces` (eV/Å), `stress` (eV/Å³ Voigt, or None) and `name` (the structure_id). Derived: it can always be
    rebuilt, with the same bytes.
    """
    _write(path, _frame(structures, reference_energies))


def _frame(structures: Iterable[Structure], reference_energies: Mapping[str, float]) -> pd.DataFrame:
    rows = [
        (
            structure.to_atoms(),
            structure.energy,
            structure.relative_energy(reference_energies),
            structure.forces,
            structure.stress,
            structure.structure_id,
        )
        for structure in structures
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def write_weighted_data(
    path: Path, rows: Iterable[LabelledStructure], reference_energies: Mapping[str, float]
) -> bool:
    """Write structures for the engine with the weights that it takes instead of its own.

    Beside the columns of `write_data` there are `w_energy` and, per atom, `w_forces`. Returns whether there is any
    force to learn: the engine fails where there is none.
    """
    labelled = list(rows)
    frame = _frame((row.structure for row in labelled), reference_energies)
    frame["w_energy"] = [row.energy_weight for row in labelled]
    frame["w_forces"] = pd.Series([row.force_weights for row in labelled], dtype=object)
    _write(path, frame)
    return any(row.force_weights.any() for row in labelled)


def _write(path: Path, frame: pd.DataFrame) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        # no name and time inside, so that a rebuilt file has the same bytes
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0) as packed,
    ):
        frame.to_pickle(cast("IO[bytes]", packed), compression=None, protocol=4)


def read_names(path: Path) -> frozenset[str]:
    """The structure_id of every row of such a file, which we or our own engine have written."""
    return frozenset(pd.read_pickle(path, compression="gzip")["name"])


def read_predictions(path: Path) -> Iterator[tuple[str, float]]:
    """The structure_id and the predicted energy (eV, relative to the references) of each structure."""
    table = pd.read_pickle(path, compression="gzip")  # written by our own engine
    for name, energy in zip(table["name"], table["energy_pred"], strict=True):
        yield name, float(np.ravel(energy)[0])


def write_predictions(path: Path, bbasis: Path, structures: Iterable[Structure]) -> None:
    """Write what a B-basis predicts for structures, as the engine writes its predictions."""
    projector = Projector(bbasis)
    rows = [{"name": s.structure_id, "energy_pred": projector.energy(s)} for s in structures]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_pickle(temporary, compression="gzip", protocol=4)
