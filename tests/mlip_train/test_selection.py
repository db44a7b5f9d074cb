from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.errors import TrainingFailedError
from mlip_train.grading import grade_potential
from mlip_train.pacemaker.library import PyACECalculator
from mlip_train.selection import Selection, Share, chosen_structures, select_structures
from tests.mlip_train.alloys import aluminium, aluminium_nickel, write_frames
from tests.mlip_train.planning import edit, publish_linear

MakeCampaign = Callable[..., Campaign]
Make = Callable[..., Campaign]

BASES = {
    "one element": (["Al"], {"functions_per_element": 6}),
    "two elements": (["Al", "Ni"], {"functions_per_element": 10}),
}


@pytest.fixture
def make(make_campaign: MakeCampaign, tmp_path: Path) -> Make:
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


def add(campaign: Campaign, n: int, folder: Path, seed: int = 0) -> int:
    """Add a batch; return its generation."""
    frames = aluminium(n, seed) if campaign.config.elements == ("Al",) else aluminium_nickel(n, seed)
    generation = accumulate(campaign, [write_frames(folder / f"batch_{seed}.traj", frames)]).generation
    assert generation is not None
    return generation


def ids_of(campaign: Campaign, generation: int) -> list[str]:
    content = json.loads(campaign.generation(generation).selection.read_text())
    return list(content["structures"])


def rule(campaign: Campaign, **values: Any) -> None:
    edit(campaign, active_set={"method": "maxvol"} | values)


@pytest.mark.parametrize("elements", [("Al",), ("Al", "Ni")], ids=BASES)
def test_exactly_as_many_as_asked_for_are_chosen_whenever_there_are_so_many(
    make: Make, elements: tuple[str, ...]
) -> None:
    campaign = make(24, elements)
    stored = [row.structure.structure_id for row in campaign.store.iterate("train")]
    before: set[str] = set()
    for wanted in range(1, 27):
        rule(campaign, max_structures=wanted)
        selection = select_structures(campaign, 1)
        chosen = ids_of(campaign, 1)
        assert selection.structures == Share(chosen=min(wanted, 24), available=24)
        assert len(set(chosen)) == len(chosen) == min(wanted, 24)
        assert chosen == [i for i in stored if i in set(chosen)]
        assert before <= set(chosen)  # a larger number adds to what a smaller one chose
        before = set(chosen)


def test_without_a_number_it_is_the_active_set_and_every_atom_is_inside_it(make: Make) -> None:
    campaign = make(40, ("Al", "Ni"))
    selection = select_structures(campaign, 1)
    assert 2 < selection.structures.chosen < 40
    assert max(selection.gamma_after.values()) <= 1.01
    assert set(selection.log_volume) == set(selection.gamma_after) == {"Al", "Ni"}
    assert selection.projected == 40
    assert selection.gamma_before == {}
    again = select_structures(campaign, 1)
    assert again.model_dump(exclude={"seconds"}) == selection.model_dump(exclude={"seconds"})


def test_everything_is_described_by_element_and_config_type(make: Make) -> None:
    campaign = make(40, ("Al", "Ni"))
    selection = select_structures(campaign, 1)
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


def test_config_types_to_keep_are_chosen_first(make: Make) -> None:
    campaign = make(24, ("Al", "Ni"), keep=["mixed"])
    kept = {row.structure_id for row in campaign.store.index("train") if row.config_type == "mixed"}
    select_structures(campaign, 1)
    assert kept < set(ids_of(campaign, 1))
    rule(campaign, keep=["mixed"], max_structures=14)
    select_structures(campaign, 1)
    assert kept < set(ids_of(campaign, 1))
    assert len(ids_of(campaign, 1)) == 14
    rule(campaign, keep=["mixed"], max_structures=5)
    select_structures(campaign, 1)
    assert set(ids_of(campaign, 1)) < kept
    assert len(ids_of(campaign, 1)) == 5


def test_without_a_method_everything_is_learned_from(make: Make) -> None:
    campaign = make(10, method="none")
    selection = select_structures(campaign, 1)
    assert selection.structures == Share(chosen=10, available=10)
    assert selection.projected == 0
    assert not campaign.generation(1).active_set.exists()
    assert len(list(chosen_structures(campaign, campaign.generation(1))())) == 10


def test_a_choice_that_is_given_up_leaves_no_active_set_behind(make: Make) -> None:
    campaign = make(10)
    select_structures(campaign, 1)
    assert campaign.generation(1).active_set.exists()
    edit(campaign, active_set={"method": "none"})
    select_structures(campaign, 1)
    assert not campaign.generation(1).active_set.exists()


def test_too_few_atoms_for_all_functions_are_told(make: Make) -> None:
    selection = select_structures(make(1, functions=20), 1)
    assert selection.structures.chosen == 1
    (note,) = selection.notes
    assert "too few different atoms" in note
    assert "Al" in note
    assert note in str(selection)


def test_nothing_to_choose_from_is_an_error(make_campaign: MakeCampaign) -> None:
    with pytest.raises(TrainingFailedError, match="no training structures"):
        select_structures(make_campaign(), 1)


def test_a_later_choice_projects_only_what_is_new(make: Make, tmp_path: Path) -> None:
    campaign = make(40)
    publish_linear(campaign, 1)
    add(campaign, 4, tmp_path, seed=1)
    selection = select_structures(campaign, 2)
    assert selection.projected == 4 or max(selection.gamma_before.values()) > 1.01
    assert selection.projected <= 3 * 4  # another reading of the new ones when some were taken in
    assert selection.notes == ()
    assert set(selection.gamma_before) == {"Al"}
    assert selection.structures.available == 44
    assert max(selection.gamma_after.values()) <= 1.01


def test_a_grown_active_set_spans_old_and_new_as_one_made_at_once(make: Make, tmp_path: Path) -> None:
    campaign = make(40, ("Al", "Ni"))
    publish_linear(campaign, 1)
    add(campaign, 40, tmp_path, seed=1)
    grown = select_structures(campaign, 2)
    campaign.generation(1).active_set.unlink()
    at_once = select_structures(campaign, 2)
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
    make: Make, tmp_path: Path, changed: dict[str, Any]
) -> None:
    campaign = make(30)
    publish_linear(campaign, 1)
    add(campaign, 3, tmp_path, seed=1)
    edit(campaign, **changed)
    selection = select_structures(campaign, 2)
    assert selection.projected == 33
    assert any("projected anew" in note for note in selection.notes)


def test_the_active_set_of_all_goes_on_when_only_a_part_was_learned_from(make: Make, tmp_path: Path) -> None:
    campaign = make(30, max_structures=2)
    publish_linear(campaign, 1)
    add(campaign, 3, tmp_path, seed=1)
    selection = select_structures(campaign, 2)
    assert max(selection.gamma_after.values()) <= 1.01
    assert selection.projected == 3


@pytest.mark.parametrize("method", ["none", "maxvol"])
@pytest.mark.parametrize("replay", ["all", "active_set", 0.5, 2.0, 100.0])
def test_old_structures_are_replayed_as_far_as_asked_for(
    make: Make, tmp_path: Path, method: str, replay: str | float
) -> None:
    campaign = make(20)
    publish_linear(campaign, 1)
    add(campaign, 6, tmp_path, seed=1)
    edit(campaign, active_set={"method": method, "replay": replay})
    old = {row.structure.structure_id for row in campaign.store.iterate("train") if row.generation == 1}
    new = {row.structure.structure_id for row in campaign.store.iterate("train") if row.generation == 2}

    selection = select_structures(campaign, 2)

    chosen = set(ids_of(campaign, 2))
    assert selection.structures == Share(chosen=len(chosen), available=26)
    assert (new <= chosen) or method == "maxvol"
    most = {"all": 20, "active_set": 6, 0.5: 3, 2.0: 12, 100.0: 20}[replay]
    assert len(old & chosen) <= most
    if method == "none" and replay != "active_set":
        assert len(old & chosen) == most


def test_a_first_generation_has_nothing_to_replay(make: Make) -> None:
    campaign = make(10, method="none", replay=0.5)
    assert select_structures(campaign, 1).structures.chosen == 10


def test_two_choices_have_the_same_identity_only_if_they_are_the_same(make: Make) -> None:
    campaign = make(12)
    identities = []
    for wanted in (5, 6, 5):
        rule(campaign, max_structures=wanted)
        identities.append(select_structures(campaign, 1).identity)
    assert identities[0] == identities[2] != identities[1]


def test_the_graded_potential_knows_the_structures_it_learned_from(make: Make) -> None:
    campaign = make(30, ("Al", "Ni"), max_structures=3)
    publish_linear(campaign, 1)
    run = campaign.generation(1)
    grades = grade_potential(campaign, 1, 1.01)
    assert max(grades.values()) <= 1.01
    calculator = PyACECalculator(str(run.fitted_potential))
    calculator.set_active_set(str(run.inverse_active_set))
    for structure in chosen_structures(campaign, run)():
        calculator.calculate(structure.to_atoms())
        assert np.max(calculator.results["gamma"]) <= 1.01
    outside = 0.0
    for row in campaign.store.iterate("train"):
        calculator.calculate(row.structure.to_atoms())
        outside = max(outside, float(np.max(calculator.results["gamma"])))
    assert outside > 1.01  # what was not learned from is not covered up


def test_the_campaign_file_says_the_same_after_an_edit(make: Make) -> None:
    campaign = make(1)
    edit(campaign, active_set={"method": "none"})
    assert yaml.safe_load(campaign.config_file.read_text())["active_set"]["method"] == "none"
