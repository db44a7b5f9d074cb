"""Two generations on the same test structures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train.assess.comparison import compare_generations
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import InputError
from mlip_train.potential.potential import Potential
from tests.mlip_train.alloys import aluminium, aluminium_nickel, write_frames
from tests.mlip_train.planning import edit, publish_linear
from tests.mlip_train.rejection import add


def test_both_are_measured_on_todays_test_set(rejected: Campaign, write_batch: Callable[[int, int], Path]) -> None:
    third = add(rejected, write_batch(12, 18))
    found = compare_generations(rejected, 1, 3)
    assert (found.one, found.other) == (1, 3)
    n_test = rejected.store.count("test")
    assert found.of_one.overall.n_structures == found.of_other.overall.n_structures == n_test
    assert third.errors.test is not None
    assert third.errors.before is not None
    assert found.of_other.overall.model_dump() == pytest.approx(third.errors.test.overall.model_dump())
    assert found.of_one.overall.model_dump() == pytest.approx(third.errors.before.overall.model_dump())


def test_they_are_compared_on_the_elements_that_both_know(
    make_campaign: Callable[..., Campaign], tmp_path: Path
) -> None:
    campaign = make_campaign(fit={"max_epochs": 0}, elements=["Al"], test={"fraction": 0.5, "stratify_by": None})
    add(campaign, write_frames(tmp_path / "one.extxyz", aluminium(8)))
    edit(campaign, elements=["Al", "Ni"])
    add(campaign, write_frames(tmp_path / "two.extxyz", aluminium_nickel(12)))
    tested = [row.structure for row in campaign.store.iterate("test")]
    known = [structure for structure in tested if set(structure.symbols) == {"Al"}]
    found = compare_generations(campaign, 2, 1)
    assert 0 < len(known) < len(tested)
    assert found.of_one.overall.n_structures == found.of_other.overall.n_structures == len(known)


def test_without_a_test_set_there_is_nothing_to_compare_on(make_small: Callable[..., Campaign]) -> None:
    campaign = make_small(fit={"max_epochs": 0}, test={"fraction": 0})
    publish_linear(campaign, 1)
    assert Potential.current(campaign) is not None
    with pytest.raises(InputError, match=r"no test structure that generations 1 and 1 both know; set"):
        compare_generations(campaign, 1, 1)
    with pytest.raises(InputError, match="no potential of generation 2"):
        compare_generations(campaign, 1, 2)
