"""Energies per element that are subtracted before a fit.

They are pinned when an element first appears and never move again: the engine's own `auto` would
depend on the dataset, so that two generations would learn different energies.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mlip_train.atoms.structure import Structure
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError
from mlip_train.intake.frame_check import IsolatedAtom

__all__ = ["pin_reference_energies", "refuse_changed_energies"]


def pin_reference_energies(
    config: CampaignConfig,
    pinned: Mapping[str, float],
    structures: Sequence[Structure],
    isolated_atoms: Sequence[IsolatedAtom],
) -> dict[str, float]:
    """Return the pinned energies (eV per atom), extended by elements that are new in this batch.

    Raises
    ------
    ConfigError
        When isolated atoms are asked for and the batch holds none of a new element.
    """
    present = sorted({symbol for structure in structures for symbol in structure.symbols})
    new = [element for element in present if element not in pinned]
    match config.reference_energies:
        case dict(explicit):
            found = {element: explicit[element] for element in new}
        case "isolated_atoms":
            found = _from_isolated_atoms(new, isolated_atoms)
        case "least_squares":
            found = _least_squares(new, pinned, structures)
    return {**pinned, **found}


def refuse_changed_energies(config: CampaignConfig, pinned: Mapping[str, float]) -> None:
    """Refuse explicit energies that are not those pinned before.

    Raises
    ------
    ConfigError
        Naming the element and both energies.
    """
    explicit = config.reference_energies
    for element, energy in pinned.items():
        if isinstance(explicit, dict) and element in explicit and explicit[element] != energy:
            raise ConfigError(
                f"reference_energies.{element} is {explicit[element]} eV, but this campaign pinned "
                f"{energy} eV with its first data; set it back, or start a new campaign"
            )


def _from_isolated_atoms(new: Sequence[str], atoms: Sequence[IsolatedAtom]) -> dict[str, float]:
    energies: dict[str, float] = {}
    for atom in atoms:
        known = energies.setdefault(atom.element, atom.energy)
        if abs(known - atom.energy) > 1e-6:
            raise ConfigError(
                f"{atom.source} frame {atom.frame}: an isolated {atom.element} atom with {atom.energy} eV, "
                f"but another one in this batch has {known} eV; keep the one with your DFT settings"
            )
    if missing := [element for element in new if element not in energies]:
        raise ConfigError(
            f"reference_energies: isolated_atoms, but the batch holds no isolated atom of "
            f"{', '.join(missing)}; add one DFT result of each, or choose least_squares"
        )
    return {element: energies[element] for element in new}


def _least_squares(
    new: Sequence[str], pinned: Mapping[str, float], structures: Sequence[Structure]
) -> dict[str, float]:
    """Energies of the new elements that explain the energies per atom best, the pinned ones fixed."""
    if not new:
        return {}
    fractions = np.zeros((len(structures), len(new)))
    energies = np.zeros(len(structures))
    for row, structure in enumerate(structures):
        symbols = structure.symbols
        rest = structure.energy - sum(pinned.get(symbol, 0.0) for symbol in symbols)
        energies[row] = rest / len(symbols)
        fractions[row] = [symbols.count(element) / len(symbols) for element in new]
    # The minimum-norm solution: one composition alone cannot tell two elements apart.
    solution, *_ = np.linalg.lstsq(fractions, energies, rcond=None)
    return {element: float(energy) for element, energy in zip(new, solution, strict=True)}
