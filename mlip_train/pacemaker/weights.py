"""The weights of the engine's loss, as the engine computes them: each kind sums to 1 over the fit."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mlip_train.ace.library import EnergyBasedWeightingPolicy
from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.config.fit import EnergyBasedWeighting, UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.input_yaml import energy_based_policy

__all__ = ["Counted", "labelled", "often_counted"]

_EVENLY: Final[Mapping[str, float]] = MappingProxyType({})


class Counted(Protocol):
    """What must be known of a structure to normalise weights: a `Structure`, or its row in the index."""

    @property
    def config_type(self) -> str:
        """Its config type."""
        ...

    @property
    def weight(self) -> float:
        """How often it counts."""
        ...

    @property
    def total_atom_weight(self) -> float:
        """The weights of its atoms together."""
        ...

    @property
    def has_virial(self) -> bool:
        """Whether it has a stress, and a volume that it belongs to."""
        ...


def labelled(
    structures: Callable[[], Iterable[Structure]],
    known: Iterable[Counted],
    reference_energies: Mapping[str, float],
    weighting: UniformWeighting | EnergyBasedWeighting,
    seed: int,
    by_type: Mapping[str, float] = _EVENLY,
) -> Iterator[LabelledStructure]:
    """Stream structures with their energies relative to the references and their weights in the loss.

    Structures that the weighting leaves out of the fit, or whose weight is 0, are left out here too.

    Parameters
    ----------
    structures : callable
        Returns the stream anew; energy-based weights need it three times, first to set the weights.
    known : iterable of Counted
        What is known of each of them beforehand, by which uniform weights are normalised.
    reference_energies : mapping of element to float
        Pinned energies in eV.
    weighting : UniformWeighting or EnergyBasedWeighting
        How structures count against each other.
    seed : int
        Of the fit; the engine's policy draws with it.
    by_type : mapping of config type to float
        How often structures of a config type count; once where it is not named.
    """
    if isinstance(weighting, EnergyBasedWeighting):
        counting = (structure for structure in structures() if often_counted(structure, by_type))
        policy = _energy_based(counting, reference_energies, weighting, seed)
        weights = partial(_by_policy, policy=policy, by_type=by_type)
        total = _Total()
        for structure in structures():
            if (weight := weights(structure)) is not None:
                total.add(weight.energy, float(weight.forces.sum()), weight.stress)
    else:
        weights, total = partial(_evenly, by_type=by_type), _Total()
        for one in known:
            often = often_counted(one, by_type)
            total.add(often, often * one.total_atom_weight, often * one.has_virial)
    for structure in structures():
        if (weight := weights(structure)) is not None:
            yield LabelledStructure(
                structure,
                structure.relative_energy(reference_energies),
                weight.energy / total.energy,
                weight.forces / (total.forces or 1.0),
                weight.stress / (total.stress or 1.0),
            )


class _Weight(NamedTuple):
    """How much a structure counts in each kind of loss, up to a factor."""

    energy: float
    forces: FloatArray  # (n,)
    stress: float


@dataclass
class _Total:
    energy: float = 0.0
    forces: float = 0.0
    stress: float = 0.0

    def add(self, energy: float, forces: float, stress: float) -> None:
        self.energy += energy
        self.forces += forces
        self.stress += stress


def often_counted(one: Counted, by_type: Mapping[str, float]) -> float:
    """How often a structure counts by its config type and its own weight."""
    return by_type.get(one.config_type, 1.0) * one.weight


def _evenly(structure: Structure, by_type: Mapping[str, float]) -> _Weight | None:
    often = often_counted(structure, by_type)
    return _weight(structure, often, 1.0, np.ones(len(structure.numbers))) if often else None


def _by_policy(
    structure: Structure, policy: Mapping[str, tuple[float, FloatArray]], by_type: Mapping[str, float]
) -> _Weight | None:
    often = often_counted(structure, by_type)
    if not often or structure.structure_id not in policy:
        return None
    return _weight(structure, often, *policy[structure.structure_id])


def _weight(structure: Structure, often: float, energy: float, forces: FloatArray) -> _Weight:
    of_atoms = 1.0 if structure.atom_weights is None else structure.atom_weights
    return _Weight(often * energy, often * forces * of_atoms, often * energy * structure.has_virial)


def _energy_based(
    structures: Iterable[Structure],
    reference_energies: Mapping[str, float],
    weighting: EnergyBasedWeighting,
    seed: int,
) -> dict[str, tuple[float, FloatArray]]:
    """Weights of energy and forces by the engine's policy, of the structures that it keeps."""
    rows = []
    for structure in structures:
        n, energy = len(structure.numbers), structure.relative_energy(reference_energies)
        rows.append(
            {
                "name": structure.structure_id,
                "ase_atoms": structure.to_atoms(),
                "NUMBER_OF_ATOMS": n,
                "energy_corrected": energy,
                "energy_corrected_per_atom": energy / n,
                "forces": structure.forces,
                "pbc": bool(structure.pbc.all()),
            }
        )
    table = _apply_policy(pd.DataFrame(rows), energy_based_policy(weighting, seed))
    return dict(
        zip(table["name"], zip(table["w_energy"], map(np.asarray, table["w_forces"]), strict=True), strict=True)
    )


def _apply_policy(table: pd.DataFrame, policy: dict[str, Any]) -> pd.DataFrame:
    arguments = {key: value for key, value in policy.items() if key != "type"}
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)  # the policy tells its own story, line by line
    random_state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            weighed: pd.DataFrame = EnergyBasedWeightingPolicy(**arguments).generate_weights(table)
            return weighed
    except (AssertionError, ValueError, RuntimeError) as error:
        raise TrainingFailedError(
            f"fit.weighting: the engine's policy cannot weigh these structures ({error}); set kind: uniform, or "
            "energy_zero: cohesive"
        ) from error
    finally:
        logging.disable(disabled)
        np.random.set_state(random_state)
