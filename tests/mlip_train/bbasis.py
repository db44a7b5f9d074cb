"""Small B-basis potentials, made without a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pyace.multispecies_basisextension import construct_bbasisconfiguration

from mlip_train.config import CampaignConfig
from mlip_train.pacemaker.input_yaml import basis_section

CONFIG = CampaignConfig.model_validate(
    {
        "elements": ["Si"],
        "basis": {
            "cutoff": 4.5,
            "functions_per_element": 6,
            "nradmax_by_orders": [4, 2],
            "lmax_by_orders": [0, 1],
        },
    }
)


def write_bbasis(path: Path, scale: float = 0.05, seed: int = 1) -> Any:
    """Write a potential with random coefficients; return its configuration."""
    configuration = construct_bbasisconfiguration(basis_section(CONFIG))
    coefficients = np.array(configuration.get_all_coeffs())
    coefficients[-12:] = np.random.default_rng(seed).normal(0, scale, 12)
    configuration.set_all_coeffs(list(coefficients))
    configuration.save(str(path))
    return configuration
