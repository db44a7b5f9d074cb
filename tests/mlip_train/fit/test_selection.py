from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import yaml

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import (
    TrainingFailedError,
)
from mlip_train.fit.selection import chosen_ids, chosen_structures, chosen_times, draw_sample
from mlip_train.records.selection import Selection, Share
from tests.mlip_train.fit.selecting import ids_of, rule, select
from tests.mlip_train.planning import edit, planned

Make = Callable[..., Campaign]


def test_everything_is_described_by_element_and_config_type(make_alloy: Make) -> None:
    campaign = make_alloy(40, ("Al", "Ni"))
    selection = select(campaign, 1)
    rows = [row.structure for row in campaign.store.iterate("train")]
    chosen = set(ids_of(campaign, 1))
    for element, share in selection.by_element.items():
        holding = {s.structure_id for s in rows if element in s.symbols}
        assert share == Share(chosen=len(holding & chosen), available=len(holding))
    for kind, share in selection.by_config_type.items():
        of_kind = {s.structure_id for s in rows if s.config_type == kind}
        assert share == Share(chosen=len(of_kind & chosen), available=len(of_kind))
    assert set(selection.by_element) == {"Al", "Ni"}
    assert set(selection.by_config_type) == {"pure", "mixed"}
    content = json.loads(campaign.generation(1).selection.read_text())
    assert Selection.model_validate(content["selection"]) == selection
    for told in (str(selection.structures), "maxvol", "largest extrapolation grade"):
        assert told in str(selection)


def test_without_a_method_everything_is_learned_from(make_alloy: Make) -> None:
    campaign = make_alloy(10, method="none")
    selection = select(campaign, 1)
    assert selection.structures == Share(chosen=10, available=10)
    assert selection.projected == 0
    assert not campaign.generation(1).active_set.exists()
    assert len(list(chosen_structures(campaign, campaign.generation(1))())) == 10


def test_a_choice_that_is_given_up_leaves_no_active_set_behind(make_alloy: Make) -> None:
    campaign = make_alloy(10)
    select(campaign, 1)
    assert campaign.generation(1).active_set.exists()
    edit(campaign, active_set={"method": "none"})
    select(campaign, 1)
    assert not campaign.generation(1).active_set.exists()


def test_nothing_to_choose_from_is_an_error(make_campaign: Make) -> None:
    with pytest.raises(TrainingFailedError, match="no training structures"):
        select(make_campaign(), 1)


def test_two_choices_have_the_same_identity_only_if_they_are_the_same(make_alloy: Make) -> None:
    campaign = make_alloy(12)
    identities = []
    for wanted in (5, 6, 5):
        rule(campaign, max_structures=wanted)
        identities.append(select(campaign, 1).identity)
    assert identities[0] == identities[2] != identities[1]


def test_the_campaign_file_says_the_same_after_an_edit(make_alloy: Make) -> None:
    campaign = make_alloy(1)
    edit(campaign, active_set={"method": "none"})
    assert yaml.safe_load(campaign.config_file.read_text())["active_set"]["method"] == "none"


def test_samples_are_drawn_with_replacement_and_always_the_same(make_committee: Make) -> None:
    campaign = make_committee()
    plan, runs = planned(campaign, 1), [campaign.generation(1).member(number) for number in (1, 2)]
    ids = chosen_ids(plan.run)
    for seed, run in zip(((42, 1), (42, 2)), runs, strict=True):
        told = draw_sample(plan.run, run, seed)
        times = chosen_times(run)
        assert sum(times.values()) == len(ids)
        assert set(times) < ids
        assert max(times.values()) > 1
        assert told.structures.chosen == len(times)
        before = run.selection.read_bytes()
        draw_sample(plan.run, run, seed)
        assert run.selection.read_bytes() == before
    assert chosen_times(runs[0]) != chosen_times(runs[1])


def test_a_large_sample_has_what_a_bootstrap_has(make_committee: Make) -> None:
    campaign = make_committee()
    run = planned(campaign, 1).run
    content = json.loads(run.selection.read_text())
    content["structures"] = [f"{number:064x}" for number in range(20_000)]
    run.selection.write_text(json.dumps(content))
    told = draw_sample(run, run.member(1), (42, 1))
    assert told.structures.chosen / 20_000 == pytest.approx(1 - np.exp(-1), abs=0.01)
