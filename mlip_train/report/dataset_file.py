"""The dataset as a file of chemiscope, whose page shows a map and the structures behind its points."""

import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from mlip_train.atoms.structure import Structure
from mlip_train.base.files import write_atomically
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import StoredStructure
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.evaluation.residual_files import read_residuals
from mlip_train.potential.potential import Potential

__all__ = ["write_dataset_file"]

_MOST: Final = 5000  # structures; a browser keeps all in memory
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_VOLUME, _ENERGY, _GENERATION = "volume per atom", "energy per atom above references", "generation"


class _Judged(NamedTuple):
    """What the current potential makes of a structure."""

    energy_error: float = math.nan  # meV/atom, predicted minus DFT
    force_rmse: float = math.nan  # meV/Å, over components
    gamma: float = math.nan


def write_dataset_file(campaign: Campaign) -> str | None:
    """Write all structures with their properties; return the file's name, or None where they are too many.

    The format is written here and not by chemiscope, which brings IPython and sixty megabytes along.
    """
    path = campaign.dataset_map
    if not 0 < len(campaign.store) <= _MOST:
        path.unlink(missing_ok=True)  # of fewer structures
        return None
    current = Potential.current(campaign)
    judged = dict(_judged(campaign.generation(current.generation))) if current else {}
    stored = list(campaign.store.iterate())
    content = {
        "meta": {"name": campaign.name, "description": _description(current)},
        "structures": [_as_json(one.structure) for one in stored],
        "properties": _properties(stored, campaign.store.manifest.reference_energies, judged),
        "settings": {
            "map": {
                "x": {"property": _VOLUME},
                "y": {"property": _ENERGY},
                "color": {"property": _GENERATION},
            },
            "structure": [{"unitCell": True, "bonds": False, "spaceFilling": False}],
        },
    }
    write_atomically(path, gzip.compress(_as_text(content).encode(), mtime=0))
    return path.name


def _as_text(content: dict[str, Any]) -> str:
    """JSON with NaN for what is missing; chemiscope, which expects it so, would also find it in names."""
    return _STRING.sub(lambda found: found[0].replace("NaN", r"\u004eaN"), json.dumps(content))


def _description(current: Potential | None) -> str:
    if current is None:
        return "DFT results."
    return f"DFT results, with the errors of the potential of generation {current.generation}."


def _as_json(structure: Structure) -> dict[str, Any]:
    x, y, z = structure.positions.round(5).T.tolist()
    cell = {"cell": structure.cell.round(6).ravel().tolist()} if structure.pbc.all() else {}
    return {"size": len(x), "names": structure.symbols, "x": x, "y": y, "z": z, **cell}


def _properties(
    stored: list[StoredStructure], energies: dict[str, float], judged: dict[str, _Judged]
) -> dict[str, Any]:
    verdicts = [judged.get(one.structure.structure_id, _Judged()) for one in stored]
    numbers: dict[str, tuple[str, list[float]]] = {
        _VOLUME: ("Å³", [_known(one.structure.volume_per_atom) for one in stored]),
        _ENERGY: ("eV", [s.relative_energy(energies) / len(s.numbers) for s in (one.structure for one in stored)]),
        _GENERATION: ("", [float(one.generation) for one in stored]),
        "energy error": ("meV/atom", [verdict.energy_error for verdict in verdicts]),
        "force error, RMSE": ("meV/Å", [verdict.force_rmse for verdict in verdicts]),
        "largest extrapolation grade": ("", [verdict.gamma for verdict in verdicts]),
    }
    words = {
        "split": [one.split for one in stored],
        "config type": [one.structure.config_type for one in stored],
        "source": [f"{one.structure.source}, frame {one.structure.frame}" for one in stored],
    }
    known = {name: it for name, it in numbers.items() if not all(map(math.isnan, it[1]))}
    return {
        **{
            name: {"target": "structure", "values": values} | ({"units": unit} if unit else {})
            for name, (unit, values) in known.items()
        },
        **{name: {"target": "structure", "values": values} for name, values in words.items()},
    }


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _judged(run: GenerationDirectory) -> Iterator[tuple[str, _Judged]]:
    """Yield what the current potential makes of each structure whose residuals were kept."""
    columns = ["structure_id", "energy", "energy_predicted", "forces", "forces_predicted", "gamma"]
    for path in (run.residuals_on_train, run.residuals_on_test):
        for batch in read_residuals(path, columns) if path.is_file() else ():
            yield from _judged_in(batch)


def _judged_in(batch: pa.RecordBatch) -> Iterable[tuple[str, _Judged]]:
    for row in batch.to_pylist():
        forces = 1e3 * (np.array(row["forces_predicted"]) - np.array(row["forces"]))
        yield (
            row["structure_id"],
            _Judged(
                energy_error=1e3 * (row["energy_predicted"] - row["energy"]),
                force_rmse=float(np.sqrt((forces**2).mean())),
                gamma=_known(row["gamma"]),
            ),
        )
