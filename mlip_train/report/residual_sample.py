"""Residuals of a whole split, in as much memory as a picture needs."""

from collections import defaultdict
from collections.abc import Set
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mlip_train.base.arrays import FloatArray
from mlip_train.evaluation.residual_files import read_residuals
from mlip_train.records.errors import Errors

__all__ = ["Histogram", "ResidualSample", "sample_residuals"]


_COLUMNS: Final = [
    "structure_id",
    "config_type",
    "numbers",
    "energy",
    "energy_predicted",
    "forces",
    "forces_predicted",
    "gamma",
]
_MOST: Final = 20_000  # points that a picture shows
_BINS: Final = (12, 80)  # of a histogram, at least and at most
_REACH: Final = 4.0  # RMSEs that a histogram shows to either side


class Histogram:
    """Counts of errors around zero; what is farther away than the edges counts at the edge."""

    def __init__(self, rmse: float, n_errors: int) -> None:
        reach = _REACH * max(rmse, 1e-6)
        n_bins = int(np.clip(2 * np.sqrt(n_errors), *_BINS)) // 2 * 2  # an even number: zero is an edge
        self.edges = np.linspace(-reach, reach, n_bins + 1)
        self.counts = np.zeros(n_bins, dtype=np.int64)

    def add(self, errors: FloatArray) -> None:
        """Count errors."""
        self.counts += np.histogram(np.clip(errors, self.edges[0], self.edges[-1]), self.edges)[0]


class ResidualSample:
    """Points to plot, and distributions of all errors.

    `energies` and `forces` hold DFT values beside predicted ones, shape (n, 2), by config type (eV/atom) and by
    element (eV/Å). Where there are too many, they are a fixed random sample with the worst structures in full.
    """

    def __init__(self, errors: Errors, always: Set[str]) -> None:
        self.energy_errors = Histogram(errors.energy_rmse, errors.n_structures)  # meV/atom
        self.force_errors = Histogram(errors.force_rmse, 3 * errors.n_atoms)  # meV/Å
        self.gamma: list[float] = []
        self.n_structures = 0
        self.has_left_out_energies = errors.n_structures > _MOST
        self.has_left_out_forces = 3 * errors.n_atoms > _MOST
        self._energies: dict[str, list[FloatArray]] = defaultdict(list)
        self._forces: dict[str, list[FloatArray]] = defaultdict(list)
        self._energy_share = _MOST / max(errors.n_structures, 1)
        self._force_share = _MOST / max(3 * errors.n_atoms, 1)
        self._always = pa.array(sorted(always), pa.string())
        self._random = np.random.default_rng(0)

    @property
    def energies(self) -> dict[str, FloatArray]:
        """DFT and predicted energies in eV/atom, by config type."""
        return {name: np.concatenate(parts) for name, parts in sorted(self._energies.items())}

    @property
    def forces(self) -> dict[str, FloatArray]:
        """DFT and predicted force components in eV/Å, by element."""
        return {name: np.concatenate(parts) for name, parts in sorted(self._forces.items())}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch, and keep some to be shown."""
        self.n_structures += len(batch)
        kept = pc.is_in(batch["structure_id"], self._always).to_numpy(zero_copy_only=False)
        self.gamma.extend(gamma for gamma in batch["gamma"].to_pylist() if gamma is not None)
        self._add_energies(batch, kept)
        self._add_forces(batch, kept)

    def _add_energies(self, batch: pa.RecordBatch, kept: NDArray[np.bool_]) -> None:
        pairs = np.stack([batch["energy"].to_numpy(), batch["energy_predicted"].to_numpy()], axis=1)
        self.energy_errors.add(1e3 * (pairs[:, 1] - pairs[:, 0]))
        shown = kept | (self._random.random(len(pairs)) < self._energy_share)
        names = np.array(batch["config_type"].to_pylist(), dtype=object)
        for name in dict.fromkeys(names[shown]):
            self._energies[str(name)].append(pairs[shown & (names == name)])

    def _add_forces(self, batch: pa.RecordBatch, kept: NDArray[np.bool_]) -> None:
        columns = (batch[name].flatten().flatten().to_numpy() for name in ("forces", "forces_predicted"))
        pairs = np.stack(list(columns), axis=1)
        self.force_errors.add(1e3 * (pairs[:, 1] - pairs[:, 0]))
        lengths = pc.list_value_length(batch["numbers"]).to_numpy()
        shown = np.repeat(kept, 3 * lengths) | (self._random.random(len(pairs)) < self._force_share)
        numbers = np.repeat(batch["numbers"].flatten().to_numpy(), 3)
        for number in np.unique(numbers[shown]):
            self._forces[chemical_symbols[number]].append(pairs[shown & (numbers == number)])


def sample_residuals(path: Path, errors: Errors, always: Set[str]) -> ResidualSample | None:
    """Read what `keep_residuals` wrote.

    Parameters
    ----------
    path : Path
        Of the Parquet file; bundles of earlier versions have none.
    errors : Errors
        Of the same structures: how many there are, and how wide the distributions.
    always : set of str
        Ids of structures that no sample leaves out.

    Returns
    -------
    ResidualSample or None
        None where there is no file, or nothing in it.
    """
    if not path.is_file():
        return None
    sample = ResidualSample(errors, always)
    for batch in read_residuals(path, _COLUMNS):
        sample.add(batch)
    return sample if sample.n_structures else None
