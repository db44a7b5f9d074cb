"""Campaigns of linear solutions, which need no engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.accumulation import accumulate
from tests.mlip_train.planning import edit, publish_linear
from tests.mlip_train.references import BASIS, LINEAR
from tests.mlip_train.rejection import BAD, add

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


@pytest.fixture
def make_small(make_campaign: Make, write_batch: WriteBatch) -> Make:
    """Makes a campaign with five structures."""

    def made(**keys: Any) -> Campaign:
        campaign = make_campaign(**keys)
        accumulate(campaign, [write_batch(0, 5)])
        return campaign

    return made


@pytest.fixture
def second(make_small: Make, write_batch: WriteBatch) -> Campaign:
    """A campaign with a published linear potential and a second generation to fit."""
    campaign = make_small(fit={"max_epochs": 0}, basis=LINEAR)
    publish_linear(campaign, 1)
    accumulate(campaign, [write_batch(5, 8)])
    edit(campaign, fit={"max_epochs": 8})
    return campaign


@pytest.fixture
def make_committee(make_campaign: Make, write_batch: WriteBatch) -> Make:
    """Makes a campaign of linear solutions of 16 structures, with three members."""

    def made(**keys: Any) -> Campaign:
        usual = {"fit": {"max_epochs": 0}, "committee": {"members": 3}, "test": {"fraction": 0.3}}
        campaign = make_campaign(**{**usual, **keys})
        accumulate(campaign, [write_batch(0, 16)])
        return campaign

    return made


@pytest.fixture
def solving(make_campaign: Make) -> Campaign:
    """A campaign of linear solutions, without data."""
    return make_campaign(fit={"max_epochs": 0})


@pytest.fixture
def rejected(solving: Campaign, write_batch: WriteBatch) -> Campaign:
    """A campaign whose second generation was rejected."""
    add(solving, write_batch(0, 6))
    add(solving, write_batch(6, 12), BAD)
    return solving


@pytest.fixture
def make_linear(make_campaign: Make, write_batch: WriteBatch) -> Make:
    """Makes a campaign of linear solutions with a reference potential and twenty structures."""

    def made(reference: dict[str, Any], **keys: Any) -> Campaign:
        campaign = make_campaign(basis=BASIS, fit={"max_epochs": 0}, reference=reference, **keys)
        accumulate(campaign, [write_batch(0, 20)])
        return campaign

    return made
