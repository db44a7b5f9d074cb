"""Small B-basis potentials, made without a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip_train.ace.library import BBasisConfiguration, PyACECalculator, create_multispecies_basis_config
from mlip_train.atoms.structure import Structure
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.pacemaker.input_yaml import basis_section

__all__ = ["CONFIG", "config_of", "predictions", "tune", "write_bbasis", "write_random"]


def config_of(elements: Sequence[str], **basis: Any) -> CampaignConfig:
    """A configuration with a tiny basis."""
    tiny = {
        "cutoff": 4.5, "functions_per_element": 6, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1],
        "embedding": "finnis_sinclair",
    }  # fmt: skip
    return CampaignConfig.model_validate({"elements": elements, "basis": tiny | basis})


CONFIG = config_of(["Si"])


def write_bbasis(path: Path, scale: float = 0.05, seed: int = 1) -> Any:
    """Write a potential with random coefficients; return its configuration."""
    configuration = create_multispecies_basis_config(basis_section(CONFIG))
    coefficients = np.array(configuration.get_all_coeffs())
    coefficients[-12:] = np.random.default_rng(seed).normal(0, scale, 12)
    configuration.set_all_coeffs(list(coefficients))
    configuration.save(str(path))
    return configuration


def write_random(path: Path, config: CampaignConfig, seed: int = 1, scale: float = 0.05) -> Path:
    """Write a potential of any basis in which no coefficient, radial or other, is what it is in a new one."""
    random = np.random.default_rng(seed)
    configuration = create_multispecies_basis_config(basis_section(config))
    blocks, radials = configuration.funcspecs_blocks, {}
    for block in blocks:
        known = radials.get(frozenset(block.elements_vec))  # those of A-B and B-A must be the same
        if known is None:
            known = np.array(block.radcoefficients)
            known = radials[frozenset(block.elements_vec)] = known + random.normal(0, scale, known.shape)
        block.radcoefficients = known.tolist()
        functions = block.funcspecs
        for function in functions:
            function.coeffs = random.normal(0, scale, len(function.coeffs)).tolist()
        block.funcspecs = functions
    configuration.funcspecs_blocks = blocks
    configuration.save(str(path))
    return path


def tune(bbasis: Path, **attributes: Any) -> None:
    """Set an attribute of every block."""
    configuration = BBasisConfiguration(str(bbasis))
    blocks = configuration.funcspecs_blocks
    for block in blocks:
        for name, value in attributes.items():
            setattr(block, name, value)
    configuration.funcspecs_blocks = blocks
    configuration.save(str(bbasis))


def predictions(bbasis: Path, structures: Sequence[Structure]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies (eV) and all force components (eV/Å) by the engine's own evaluator."""
    calculator = PyACECalculator(str(bbasis))
    energies, forces = [], []
    for structure in structures:
        calculator.calculate(structure.to_atoms())
        energies.append(calculator.results["energy"])
        forces.append(calculator.results["forces"].ravel())
    return np.array(energies), np.concatenate(forces)
