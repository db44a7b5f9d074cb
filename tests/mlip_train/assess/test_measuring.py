"""Errors of linear solutions on real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.accumulation import accumulate
from tests.mlip_train.alloys import aluminium, aluminium_nickel
from tests.mlip_train.alloys import write_frames as write_alloy
from tests.mlip_train.planning import edit, publish_linear
from tests.mlip_train.references import DELTA, LJ

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


def test_errors_of_the_potential_before_are_those_of_its_sum(make_linear: Make, write_batch: WriteBatch) -> None:
    campaign = make_linear(LJ)
    first = publish_linear(campaign, 1)
    second = publish_linear(campaign, 2)
    assert first.errors.test is not None
    assert second.errors.before == first.errors.test


@pytest.mark.fits
def test_the_potential_before_is_judged_on_the_elements_that_it_knows(make_campaign: Make, tmp_path: Path) -> None:
    campaign = make_campaign(
        fit={"max_epochs": 0}, elements=["Al"], reference=DELTA, test={"fraction": 0.5, "stratify_by": None}
    )
    accumulate(campaign, [write_alloy(tmp_path / "one.extxyz", aluminium(8))])
    publish_linear(campaign, 1)
    edit(campaign, elements=["Al", "Ni"])
    campaign = Campaign(campaign.root)
    accumulate(campaign, [write_alloy(tmp_path / "two.extxyz", aluminium_nickel(12))])
    before = publish_linear(campaign, 2).errors.before
    tested = [row.structure for row in campaign.store.iterate("test")]
    known = [structure for structure in tested if set(structure.symbols) == {"Al"}]
    assert before is not None
    assert 0 < before.overall.n_structures == len(known) < len(tested)
