"""What the dataset consists of: the content of manifest.json."""

from typing import ClassVar, Literal

from mlip_train.base.files import hash_of
from mlip_train.base.frozen import Frozen

__all__ = ["Manifest", "Shard", "Split"]

Split = Literal["train", "test"]


class Shard(Frozen):
    """One Parquet file of the dataset."""

    file: str
    sha256: str
    generation: int
    cutoff: float  # Å; every atom has a neighbour within it
    structures: dict[Split, int]
    atoms_by_element: dict[str, int]
    config_types: dict[Split, dict[str, int]]


class Manifest(Frozen):
    """What the dataset consists of."""

    file_is: ClassVar[str] = "a readable manifest"

    format: Literal[1] = 1
    shards: tuple[Shard, ...] = ()
    reference_energies: dict[str, float] = {}

    @property
    def dataset_hash(self) -> str:
        """SHA-256 over the shards and the pinned reference energies, in order."""
        content = [[shard.sha256 for shard in self.shards], sorted(self.reference_energies.items())]
        return hash_of(content)
