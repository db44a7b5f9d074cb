"""The weights of the engine's loss, as the engine computes them: each kind sums to 1 over the fit."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlip_train.ace.library import EnergyBasedWeightingPolicy
from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.config.fit import EnergyBasedWeighting, UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.input_yaml import energy_based_policy

__all__ = ["labelled"]


def labelled(
    structures: Callable[[], Iterable[Structure]],
    sizes: Iterable[int],
    reference_energies: Mapping[str, float],
    weighting: UniformWeighting | EnergyBasedWeighting,
    seed: int,
) -> Iterator[LabelledStructure]:
    """Stream structures with their energies relative to the references and their weights in the loss.

    Structures that the weighting leaves out of the fit are left out here too.

    Parameters
    ----------
    structures : callable
        Returns the stream anew; energy-based weights need it twice, first to set the weights.
    sizes : iterable of int
        Number of atoms of each of them, by which uniform weights are normalised.
    reference_energies : mapping of element to float
        Pinned energies in eV.
    weighting : UniformWeighting or EnergyBasedWeighting
        How structures count against each other.
    seed : int
        Of the fit; the engine's policy draws with it.
    """
    if isinstance(weighting, EnergyBasedWeighting):
        weights = _energy_based(structures(), reference_energies, weighting, seed)
    else:
        weights = _uniform(sizes)
    for structure in structures():
        if (weight := weights(structure)) is not None:
            energy, forces = weight
            yield LabelledStructure(structure, structure.relative_energy(reference_energies), energy, forces)


_Weights = Callable[[Structure], tuple[float, FloatArray] | None]


def _uniform(sizes: Iterable[int]) -> _Weights:
    known = list(sizes)
    per_structure, per_atom = 1 / max(len(known), 1), 1 / max(sum(known), 1)
    return lambda structure: (per_structure, np.full(len(structure.numbers), per_atom))


def _energy_based(
    structures: Iterable[Structure],
    reference_energies: Mapping[str, float],
    weighting: EnergyBasedWeighting,
    seed: int,
) -> _Weights:
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
    by_name = dict(zip(table["name"], zip(table["w_energy"], table["w_forces"], strict=True), strict=True))
    return lambda structure: by_name.get(structure.structure_id)


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
