"""Choosing by maxvol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlip_train.ace.library import PyACECalculator
from mlip_train.campaign.campaign import Campaign
from mlip_train.records.selection import Share
from tests.mlip_train.fit.selecting import add, ids_of, rule, select
from tests.mlip_train.planning import edit, publish_linear

Make = Callable[..., Campaign]


@pytest.mark.parametrize("elements", [("Al",), ("Al", "Ni")], ids=["one element", "two elements"])
def test_exactly_as_many_as_asked_for_are_chosen_whenever_there_are_so_many(
    make_alloy: Make, elements: tuple[str, ...]
) -> None:
    campaign = make_alloy(24, elements)
    stored = [row.structure.structure_id for row in campaign.store.iterate("train")]
    before: set[str] = set()
    for wanted in range(1, 27):
        rule(campaign, max_structures=wanted)
        selection = select(campaign, 1)
        chosen = ids_of(campaign, 1)
        assert selection.structures == Share(chosen=min(wanted, 24), available=24)
        assert len(set(chosen)) == len(chosen) == min(wanted, 24)
        assert chosen == [i for i in stored if i in set(chosen)]
        assert before <= set(chosen)  # a larger number adds to what a smaller one chose
        before = set(chosen)


def test_without_a_number_it_is_the_active_set_and_every_atom_is_inside_it(make_alloy: Make) -> None:
    campaign = make_alloy(40, ("Al", "Ni"))
    selection = select(campaign, 1)
    assert 2 < selection.structures.chosen < 40
    assert max(selection.gamma_after.values()) <= 1.01
    assert set(selection.log_volume) == set(selection.gamma_after) == {"Al", "Ni"}
    assert selection.projected == 40
    assert selection.gamma_before == {}
    again = select(campaign, 1)
    assert again.model_dump(exclude={"seconds"}) == selection.model_dump(exclude={"seconds"})


def test_config_types_to_keep_are_chosen_first(make_alloy: Make) -> None:
    campaign = make_alloy(24, ("Al", "Ni"), keep=["mixed"])
    kept = {row.structure_id for row in campaign.store.index("train") if row.config_type == "mixed"}
    select(campaign, 1)
    assert kept < set(ids_of(campaign, 1))
    rule(campaign, keep=["mixed"], max_structures=14)
    select(campaign, 1)
    assert kept < set(ids_of(campaign, 1))
    assert len(ids_of(campaign, 1)) == 14
    rule(campaign, keep=["mixed"], max_structures=5)
    select(campaign, 1)
    assert set(ids_of(campaign, 1)) < kept
    assert len(ids_of(campaign, 1)) == 5


def test_too_few_atoms_for_all_functions_are_told(make_alloy: Make) -> None:
    selection = select(make_alloy(1, functions=20), 1)
    assert selection.structures.chosen == 1
    (note,) = selection.notes
    assert "too few different atoms" in note
    assert "Al" in note
    assert note in str(selection)


def test_a_later_choice_projects_only_what_is_new(make_alloy: Make, tmp_path: Path) -> None:
    campaign = make_alloy(40)
    publish_linear(campaign, 1)
    add(campaign, 4, tmp_path, seed=1)
    selection = select(campaign, 2)
    assert selection.projected == 4 or max(selection.gamma_before.values()) > 1.01
    assert selection.projected <= 3 * 4  # another reading of the new ones when some were taken in
    assert selection.notes == ()
    assert set(selection.gamma_before) == {"Al"}
    assert selection.structures.available == 44
    assert max(selection.gamma_after.values()) <= 1.01


def test_a_grown_active_set_spans_old_and_new_as_one_made_at_once(make_alloy: Make, tmp_path: Path) -> None:
    campaign = make_alloy(40, ("Al", "Ni"))
    publish_linear(campaign, 1)
    add(campaign, 40, tmp_path, seed=1)
    grown = select(campaign, 2)
    campaign.generation(1).active_set.unlink()
    at_once = select(campaign, 2)
    assert at_once.projected >= 80 > grown.projected
    for element, volume in at_once.log_volume.items():
        assert grown.log_volume[element] == pytest.approx(volume, abs=1)
    publish_linear(campaign, 2)
    calculator = PyACECalculator(str(campaign.generation(2).fitted_potential))
    calculator.set_active_set(str(campaign.generation(2).inverse_active_set))
    for row in campaign.store.iterate("train"):
        calculator.calculate(row.structure.to_atoms())
        assert np.max(calculator.results["gamma"]) < 1.1


@pytest.mark.parametrize(
    "changed",
    [
        {"basis": {"cutoff": 4.6}},
        {"basis": {"functions_per_element": 7}},
        {"active_set": {"method": "maxvol", "gamma_tolerance": 1.1}},
    ],
    ids=["cutoff", "functions", "tolerance"],
)
def test_a_change_of_what_the_projections_or_the_choice_depend_on_projects_all_and_says_so(
    make_alloy: Make, tmp_path: Path, changed: dict[str, Any]
) -> None:
    campaign = make_alloy(30)
    publish_linear(campaign, 1)
    add(campaign, 3, tmp_path, seed=1)
    edit(campaign, **changed)
    selection = select(campaign, 2)
    assert selection.projected == 33
    assert any("projected anew" in note for note in selection.notes)


def test_the_active_set_of_all_goes_on_when_only_a_part_was_learned_from(make_alloy: Make, tmp_path: Path) -> None:
    campaign = make_alloy(30, max_structures=2)
    publish_linear(campaign, 1)
    add(campaign, 3, tmp_path, seed=1)
    selection = select(campaign, 2)
    assert max(selection.gamma_after.values()) <= 1.01
    assert selection.projected == 3


@pytest.mark.parametrize("method", ["none", "maxvol"])
@pytest.mark.parametrize("replay", ["all", "active_set", 0.5, 2.0, 100.0])
def test_old_structures_are_replayed_as_far_as_asked_for(
    make_alloy: Make, tmp_path: Path, method: str, replay: str | float
) -> None:
    campaign = make_alloy(20)
    publish_linear(campaign, 1)
    add(campaign, 6, tmp_path, seed=1)
    edit(campaign, active_set={"method": method, "replay": replay})
    old = {row.structure.structure_id for row in campaign.store.iterate("train") if row.generation == 1}
    new = {row.structure.structure_id for row in campaign.store.iterate("train") if row.generation == 2}

    selection = select(campaign, 2)

    chosen = set(ids_of(campaign, 2))
    assert selection.structures == Share(chosen=len(chosen), available=26)
    assert (new <= chosen) or method == "maxvol"
    most = {"all": 20, "active_set": 6, 0.5: 3, 2.0: 12, 100.0: 20}[replay]
    assert len(old & chosen) <= most
    if method == "none" and replay != "active_set":
        assert len(old & chosen) == most


def test_a_first_generation_has_nothing_to_replay(make_alloy: Make) -> None:
    campaign = make_alloy(10, method="none", replay=0.5)
    assert select(campaign, 1).structures.chosen == 10
