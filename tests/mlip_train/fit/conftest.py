"""Campaigns to choose structures of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlip_train.campaign.campaign import Campaign
from tests.mlip_train.fit.selecting import add


@pytest.fixture
def make_alloy(make_campaign: Callable[..., Campaign], tmp_path: Path) -> Callable[..., Campaign]:
    """Makes a linear campaign with a first batch of structures, all of them for training."""

    def made(n: int, elements: tuple[str, ...] = ("Al",), functions: int = 6, **rule: Any) -> Campaign:
        basis = {"cutoff": 4.5, "functions_per_element": functions, "nradmax_by_orders": [4, 2]}
        campaign = make_campaign(
            elements=list(elements),
            basis=basis | {"lmax_by_orders": [0, 1]},
            fit={"max_epochs": 0},
            test={"fraction": 0},
            active_set={"method": "maxvol"} | rule,
        )
        add(campaign, n, tmp_path)
        return campaign

    return made
