"""The dataset of a campaign: append-only Parquet shards, one per generation, under a manifest.

A shard exists once the manifest names it. The manifest is replaced in one step, so a crash leaves
the old dataset or the new one; a shard that no manifest names is overwritten by the next run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ase.data import chemical_symbols

from mlip_train.atoms.structure import Structure
from mlip_train.base.files import atomic_path, sha256_of
from mlip_train.campaign.generation_directory import generation_name
from mlip_train.campaign.splits import assign_splits
from mlip_train.errors import CorruptFileError
from mlip_train.records.manifest import Manifest, Shard, Split
from mlip_train.records.refusal import Refusal

__all__ = ["DatasetStore", "IndexRow", "NewStructures", "StoredStructure"]

_VECTOR = pa.list_(pa.float64(), 3)
SCHEMA: Final = pa.schema(
    [
        pa.field("structure_id", pa.string(), nullable=False),
        pa.field("numbers", pa.list_(pa.int32()), nullable=False),
        pa.field("positions", pa.list_(_VECTOR), nullable=False),  # Å
        pa.field("cell", pa.list_(_VECTOR, 3), nullable=False),  # Å
        pa.field("pbc", pa.list_(pa.bool_(), 3), nullable=False),
        pa.field("energy", pa.float64(), nullable=False),  # eV, total
        pa.field("forces", pa.list_(_VECTOR), nullable=False),  # eV/Å
        pa.field("stress", pa.list_(pa.float64())),  # eV/Å³, Voigt xx yy zz yz xz xy, ASE sign
        pa.field("config_type", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        # shards of early versions lack these
        pa.field("weight", pa.float64()),
        pa.field("atom_weights", pa.list_(pa.float64())),
    ]
)

_ROWS_AT_ONCE: Final = 256  # in memory

# Labels of one geometry that differ by more than this are two different calculations. Less is what
# the resolution of a geometry (1e-4 Å) makes of it, as at the end of a relaxation.
_SAME_ENERGY = 1e-4  # eV per atom
_SAME_FORCE = 1e-2  # eV/Å


@dataclass(frozen=True)
class StoredStructure:
    """A structure with its place in the dataset."""

    structure: Structure
    generation: int
    split: Split


@dataclass(frozen=True)
class IndexRow:
    """A stored structure without its arrays."""

    structure_id: str
    generation: int
    config_type: str
    n_atoms: int
    elements: frozenset[str]
    weight: float
    total_atom_weight: float
    has_atom_weights: bool  # other than 1
    has_virial: bool


@dataclass(frozen=True)
class NewStructures:
    """A batch sorted by what the dataset already holds."""

    new: list[Structure]
    n_duplicates: int
    contradictions: list[Refusal]


class DatasetStore:
    """The shards in a directory.

    Parameters
    ----------
    directory : Path
        Holds `manifest.json` and the shards; created by the first append. The shards are compared
        with their checksums by `verify`.

    Raises
    ------
    CorruptFileError
        When the manifest cannot be read.
    """

    MANIFEST = "manifest.json"

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.manifest = self._read_manifest()

    def __len__(self) -> int:
        return sum(sum(shard.structures.values()) for shard in self.manifest.shards)

    @property
    def generations(self) -> list[int]:
        """Generations that brought structures, in order."""
        return [shard.generation for shard in self.manifest.shards]

    def sources(self) -> dict[str, int]:
        """Every file that structures were taken from, with the newest generation that took some."""
        return {
            source: shard.generation
            for shard in self.manifest.shards
            for source in pq.read_table(self.directory / shard.file, columns=["source"])["source"].to_pylist()
        }

    def count(self, split: Split) -> int:
        """Number of stored structures of a split."""
        return sum(shard.structures.get(split, 0) for shard in self.manifest.shards)

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises
        ------
        CorruptFileError
            Naming the first shard that is missing or was changed.
        """
        for shard in self.manifest.shards:
            path = self.directory / shard.file
            if not path.is_file():
                raise CorruptFileError(f"{path} is missing, but the manifest lists it; restore it from a backup")
            if sha256_of(path) != shard.sha256:
                raise CorruptFileError(f"{path} was changed after it was written; restore it from a backup")

    def sort_out(self, structures: Sequence[Structure]) -> NewStructures:
        """Separate new structures from exact duplicates and from contradictions.

        A geometry that is already there with the same labels is a duplicate; with other labels it
        contradicts what is stored, and the dataset keeps the first.
        """
        known = self._labels({structure.structure_id for structure in structures})
        new, n_duplicates, contradictions = [], 0, []
        for structure in structures:
            earlier = known.get(structure.structure_id)
            if earlier is None:
                new.append(structure)
                known[structure.structure_id] = structure
            elif _same_labels(earlier, structure):
                n_duplicates += 1
            else:
                contradictions.append(_contradiction(structure, earlier))
        return NewStructures(new, n_duplicates, contradictions)

    def splits_for(self, structures: Sequence[Structure], fraction: float, stratified: bool) -> dict[str, Split]:
        """Decide which of the new structures are kept for testing."""
        stored: Counter[tuple[str, Split]] = Counter()
        for shard in self.manifest.shards:
            for split, counts in shard.config_types.items():
                for config_type, count in counts.items():
                    stored[config_type if stratified else "", split] += count
        new = [(s.structure_id, s.config_type if stratified else "") for s in structures]
        return assign_splits(new, stored, fraction)

    def append(
        self,
        structures: Sequence[Structure],
        splits: Mapping[str, Split],
        generation: int,
        reference_energies: Mapping[str, float],
        cutoff: float,
    ) -> Shard:
        """Write one shard and make it part of the dataset, in one step.

        Parameters
        ----------
        structures : sequence of Structure
            New structures only (see `sort_out`).
        splits : mapping of structure_id to split
            See `splits_for`.
        generation : int
            The generation that these structures start; larger than any stored one.
        reference_energies : mapping of element to float
            Pinned energies in eV, including those pinned before.
        cutoff : float
            The cutoff in Å that the structures were checked with.

        Raises
        ------
        ValueError
            When the generation is not after the stored ones.
        """
        if self.generations and generation <= self.generations[-1]:
            raise ValueError(f"generation {generation} is not after {self.generations[-1]}")
        path = self.directory / f"{generation_name(generation)}.parquet"
        table = pa.Table.from_pylist([_to_row(s, generation, splits[s.structure_id]) for s in structures], SCHEMA)
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=_ROWS_AT_ONCE)
        shard = _describe(path, structures, splits, generation, cutoff)
        self._replace_manifest(
            Manifest(shards=(*self.manifest.shards, shard), reference_energies=dict(reference_energies))
        )
        return shard

    def index(self, split: Split) -> Iterator[IndexRow]:
        """What is known of each structure of a split without its arrays, in the order in which they came."""
        known = ["structure_id", "generation", "config_type"]
        for shard in self.manifest.shards:
            columns = [*known, "numbers", "stress", "pbc", "weight", "atom_weights"]
            for row in _stream(self.directory / shard.file, split, columns):
                numbers, atom_weights = row["numbers"], row.get("atom_weights")
                yield IndexRow(
                    n_atoms=len(numbers),
                    elements=frozenset(chemical_symbols[number] for number in set(numbers)),
                    weight=row.get("weight", 1.0),
                    total_atom_weight=len(numbers) if atom_weights is None else sum(atom_weights),
                    has_atom_weights=any(weight != 1.0 for weight in atom_weights or ()),
                    has_virial=row["stress"] is not None and all(row["pbc"]),
                    **{name: row[name] for name in known},
                )

    def iterate(self, split: Split | None = None, after: int = 0) -> Iterator[StoredStructure]:
        """Stream stored structures, shard by shard, in the order in which they came.

        Parameters
        ----------
        split : str, optional
            Only this one.
        after : int
            Only generations after this one; the shards of others are not read.
        """
        for shard in self.manifest.shards:
            if shard.generation > after:
                for row in _stream(self.directory / shard.file, split):
                    yield StoredStructure(_from_row(row), row["generation"], row["split"])

    def _labels(self, wanted: set[str]) -> dict[str, Structure]:
        """Stored structures whose geometry is among the wanted ones."""
        found: dict[str, Structure] = {}
        for shard in self.manifest.shards:
            path = self.directory / shard.file
            ids = set(pq.read_table(path, columns=["structure_id"])["structure_id"].to_pylist())
            if hits := sorted(ids & wanted):
                table = pq.read_table(path, filters=[("structure_id", "in", hits)])
                found.update((row["structure_id"], _from_row(row)) for row in table.to_pylist())
        return found

    def _read_manifest(self) -> Manifest:
        path = self.directory / self.MANIFEST
        return Manifest.load(path) if path.exists() else Manifest()

    def _replace_manifest(self, manifest: Manifest) -> None:
        manifest.save(self.directory / self.MANIFEST)
        self.manifest = manifest


def _same_labels(one: Structure, other: Structure) -> bool:
    return bool(
        abs(one.energy - other.energy) <= _SAME_ENERGY * len(one.numbers)
        and np.abs(one.forces - other.forces).max() <= _SAME_FORCE
    )


def _contradiction(structure: Structure, earlier: Structure) -> Refusal:
    difference = structure.energy - earlier.energy
    force = np.abs(structure.forces - earlier.forces).max()
    return Refusal(
        source=structure.source,
        frame=structure.frame,
        reason=(
            f"the same geometry is known from {earlier.source} frame {earlier.frame} with other labels "
            f"(energy differs by {difference:+.6g} eV, a force component by up to {force:.3g} eV/Å); the "
            "dataset keeps the first. Label all structures with the same DFT settings"
        ),
    )


def _describe(
    path: Path, structures: Sequence[Structure], splits: Mapping[str, Split], generation: int, cutoff: float
) -> Shard:
    structure_counts: Counter[Split] = Counter()
    atoms: Counter[str] = Counter()
    config_types: dict[Split, dict[str, int]] = {"train": {}, "test": {}}
    for structure in structures:
        split = splits[structure.structure_id]
        structure_counts[split] += 1
        atoms.update(structure.symbols)
        counts = config_types[split]
        counts[structure.config_type] = counts.get(structure.config_type, 0) + 1
    return Shard(
        file=path.name,
        sha256=sha256_of(path),
        generation=generation,
        cutoff=cutoff,
        structures=dict(structure_counts),
        atoms_by_element=dict(sorted(atoms.items())),
        config_types=config_types,
    )


def _to_row(structure: Structure, generation: int, split: Split) -> dict[str, Any]:
    values = {name: getattr(structure, name) for name in SCHEMA.names if name not in ("generation", "split")}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return {**plain, "generation": generation, "split": split}


def _from_row(row: Mapping[str, Any]) -> Structure:
    return Structure(
        numbers=np.array(row["numbers"], dtype=np.int32),
        positions=np.array(row["positions"], dtype=float).reshape(-1, 3),
        cell=np.array(row["cell"], dtype=float),
        pbc=np.array(row["pbc"], dtype=bool),
        energy=row["energy"],
        forces=np.array(row["forces"], dtype=float).reshape(-1, 3),
        stress=None if row["stress"] is None else np.array(row["stress"], dtype=float),
        config_type=row["config_type"],
        source=row["source"],
        frame=row["frame"],
        weight=row.get("weight", 1.0),
        atom_weights=None if row.get("atom_weights") is None else np.array(row["atom_weights"], dtype=float),
    )


def _stream(path: Path, split: Split | None, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a shard, few of them in memory at a time."""
    with pq.ParquetFile(path, pre_buffer=False) as shard:
        wanted = [name for name in columns or SCHEMA.names if name in shard.schema_arrow.names]
        for batch in shard.iter_batches(_ROWS_AT_ONCE, columns=list(dict.fromkeys([*wanted, "split"]))):
            of_split = batch if split is None else batch.filter(pc.equal(batch["split"], split))
            yield from of_split.select(wanted).to_pylist()
