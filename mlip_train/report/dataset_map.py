"""Where the structures of a dataset lie: energy over volume."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from ase.data import atomic_numbers, chemical_symbols
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from mlip_train.atoms.structure import composition_of
from mlip_train.base.arrays import FloatArray
from mlip_train.campaign.campaign import Campaign
from mlip_train.report.pictures import SHOWN_AS_PIXELS, Picture, draw

__all__ = ["Point", "draw_dataset_map", "read_points"]

_COLUMNS: Final = ["numbers", "cell", "pbc", "energy", "generation"]
_ROWS_AT_ONCE: Final = 256  # in memory
_LIGHTEST: Final = 0.9  # of viridis, whose yellow end is too light for white paper
_MOST_PANELS: Final = 6


class Point(NamedTuple):
    """One bulk structure."""

    composition: str  # reduced
    volume: float  # Å³/atom
    energy: float  # eV/atom, above the reference energies
    generation: int


def read_points(campaign: Campaign) -> list[Point]:
    """Read all bulk structures of the dataset; clusters have no volume."""
    return list(_points(campaign))


def draw_dataset_map(points: list[Point]) -> list[Picture]:
    """Draw energy over volume, coloured by generation, in one plot for each of the most frequent compositions."""
    by_composition: dict[str, list[Point]] = {}
    for point in points:
        by_composition.setdefault(point.composition, []).append(point)
    most = sorted(by_composition, key=lambda name: (-len(by_composition[name]), name))[:_MOST_PANELS]
    generations = [point.generation for point in points]
    return [
        draw(
            f"map-{number}",
            f"Structures of {name}, coloured by the generation that brought them.",
            _map_of(by_composition[name], (min(generations), max(generations))),
        )
        for number, name in enumerate(most, 1)
    ]


def _map_of(points: list[Point], generations: tuple[int, int]) -> Callable[[Axes], None]:
    first, last = generations

    def onto(axes: Axes) -> None:
        _, volumes, energies, colours = zip(*points, strict=True)
        # steps, since there is nothing between two generations
        colour_map = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, last - first + 1)))
        norm = BoundaryNorm(np.arange(first, last + 2) - 0.5, colour_map.N)
        dots = axes.scatter(
            volumes,
            energies,
            c=colours,
            s=9,
            cmap=colour_map,
            norm=norm,
            linewidths=0,
            rasterized=len(points) > SHOWN_AS_PIXELS,
        )
        axes.set(xlabel="volume (Å³/atom)", ylabel="energy above references (eV/atom)")
        ticks = np.unique(np.linspace(first, last, min(last - first + 1, 6)).round().astype(int))
        cast(Figure, axes.figure).colorbar(dots, ax=axes, label="generation", ticks=ticks.tolist())

    return onto


def _points(campaign: Campaign) -> Iterator[Point]:
    store = campaign.store
    energies = np.zeros(len(chemical_symbols))  # eV, by atomic number
    for element, energy in store.manifest.reference_energies.items():
        energies[atomic_numbers[element]] = energy
    for shard in store.manifest.shards:
        with pq.ParquetFile(store.directory / shard.file) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=_COLUMNS):
                yield from (_point(row, energies) for row in batch.to_pylist() if all(row["pbc"]))


def _point(row: Mapping[str, Any], energies: FloatArray) -> Point:
    numbers = np.array(row["numbers"])
    return Point(
        composition=composition_of(chemical_symbols[n] for n in numbers),
        volume=float(abs(np.linalg.det(row["cell"]))) / len(numbers),
        energy=float(row["energy"] - energies[numbers].sum()) / len(numbers),
        generation=row["generation"],
    )
