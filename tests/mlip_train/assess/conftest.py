"""A real potential to check: a linear solution, closed by ZBL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train.assess.subject import Subject
from mlip_train.atoms.structure import Structure
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.closing import close_fit
from mlip_train.intake.accumulation import accumulate
from mlip_train.potential.potential import Potential
from tests.mlip_train.planning import publish_linear


@pytest.fixture(scope="session")
def silicon_campaign(
    tmp_path_factory: pytest.TempPathFactory, campaign_text: Callable[..., str], write_frames: Callable[..., Path]
) -> Campaign:
    """Twenty structures, and generation 1."""
    root = tmp_path_factory.mktemp("physics")
    basis = {
        "cutoff": 5.0, "functions_per_element": 40, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2],
        "embedding": "linear",
    }  # fmt: skip
    campaign = Campaign.create(
        root / "campaign", campaign_text(basis=basis, fit={"max_epochs": 0}, reference={"kind": "zbl"})
    )
    accumulate(campaign, [write_frames(root / "silicon.extxyz", 0, 20)])
    publish_linear(campaign, 1)
    return campaign


@pytest.fixture(scope="session")
def potential(silicon_campaign: Campaign) -> Potential:
    """Generation 1."""
    current = Potential.current(silicon_campaign)
    assert current is not None
    return current


@pytest.fixture(scope="session")
def structures(silicon_campaign: Campaign) -> list[Structure]:
    """What it was trained and tested on."""
    return [row.structure for row in silicon_campaign.store.iterate()]


@pytest.fixture(scope="session")
def subject(silicon_campaign: Campaign) -> Subject:
    """Generation 1 as the checks see it."""
    plan = FitPlan.load(silicon_campaign.generation(1).plan)
    return Subject(plan, close_fit(plan))
