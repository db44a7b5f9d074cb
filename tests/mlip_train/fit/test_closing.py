"""What is made of a fitted potential, on real silicon data and without running the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.inner_cutoff import close_bbasis
from mlip_train.assess.consistency import trainer_difference
from mlip_train.assess.measuring import evaluate_fit
from mlip_train.atoms.approaches import closest_approaches
from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.atoms.pairs import contact_distance
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.fit import closing
from mlip_train.fit.closing import close_fit
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.pair_curves import ALONE, Growth, PairCurve, decisive
from mlip_train.fit.starting import errors_of_start
from mlip_train.intake.accumulation import accumulate
from mlip_train.potential.potential import Potential
from tests.mlip_train.alloys import aluminium_nickel
from tests.mlip_train.alloys import write_frames as write_alloy
from tests.mlip_train.planning import publish_linear, solved
from tests.mlip_train.references import ALL, CORE, DELTA, NONE, PRIORS
from tests.mlip_train.squeezed import squeezed

Make = Callable[..., Campaign]
MakeCampaign = Callable[..., Campaign]


def dimer(calculator: Any, r: float) -> float:
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, r]]))
    return float(calculator.results["energy"])


def shortest_in(campaign: Campaign) -> float:
    return closest_approaches((row.structure for row in campaign.store.iterate()), ["Si"], 5.0)["Si-Si"].shortest


@ALL
def test_the_exported_file_and_its_baseline_predict_what_was_fitted(
    make_linear: Make, reference: dict[str, Any]
) -> None:
    campaign = make_linear(reference)
    plan = solved(campaign, 1)
    close_fit(plan)
    grade_potential(plan)
    evaluation = evaluate_fit(plan)
    assert trainer_difference(plan.run.train_predictions, plan.run.residuals_on_train)[0] < 1e-7
    assert evaluation.train.overall.energy_rmse == pytest.approx(errors_of_start(plan).energy_rmse, rel=1e-6)


@PRIORS
def test_two_atoms_repel_down_to_where_they_almost_touch(make_linear: Make, reference: dict[str, Any]) -> None:
    campaign = make_linear(reference)
    plan = solved(campaign, 1)
    closed = close_fit(plan)
    alone, among = closed.curves
    for curve in (alone, among):
        energies = np.array(curve.energies)[np.array(curve.distances) <= curve.edge]
        assert (np.diff(energies) < 0).all()
        assert np.interp(0.5, curve.distances, curve.energies) - energies[-1] > 300
    assert closed.notes == ()
    assert not any(curve.hole() for curve in decisive(closed.curves))


def test_without_a_reference_potential_the_user_is_told(make_linear: Make) -> None:
    plan = solved(make_linear(NONE), 1)
    closed = close_fit(plan)
    (note,) = closed.notes
    assert "nothing is known of atoms that are closer than Si-Si 2.02 Å" in note
    assert "Set reference: zbl" in note


def test_a_switch_goes_out_to_the_data_where_the_potential_fails_before(
    make_linear: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = solved(make_linear(CORE), 1)
    monkeypatch.setattr(PairCurve, "hole", lambda curve: "a hole")
    shortest = shortest_in(Campaign(plan.campaign))
    assert close_fit(plan).reference.switches["Si-Si"].outer == pytest.approx(shortest - 0.01)


def test_the_narrowest_of_smooth_switches_is_taken(make_linear: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = solved(make_linear(CORE), 1)
    monkeypatch.setattr(PairCurve, "jump", Growth(start=1.0, by=0.9, begin=1.0, end=1.1))
    switch = close_fit(plan).reference.switches["Si-Si"]
    assert switch.inner == pytest.approx(0.9 * switch.outer)


@pytest.mark.parametrize("alone", [False, True])
def test_the_smoothest_switch_is_taken(make_linear: Make, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    plan = solved(make_linear(CORE), 1)
    widths = []

    def note(fitted: Path, target: Path, kind: Any, radii: dict[str, SwitchRadii]) -> None:
        widths.append(1 - radii["Si-Si"].inner / radii["Si-Si"].outer)
        close_bbasis(fitted, target, kind, radii)

    def jump(curve: PairCurve) -> Growth:
        by = 2.0 + 10 * abs(widths[-1] - 0.3) if (curve.where == ALONE) == alone else 2.0
        return Growth(start=9.0, by=by, begin=1.0, end=1.1)

    monkeypatch.setattr(closing, "close_bbasis", note)
    monkeypatch.setattr(PairCurve, "jump", property(jump))
    switch = close_fit(plan).reference.switches["Si-Si"]
    assert switch.inner == pytest.approx(0.7 * switch.outer)


@PRIORS
def test_the_switch_lies_below_everything_in_the_data(make_linear: Make, reference: dict[str, Any]) -> None:
    campaign = make_linear(reference)
    publish_linear(campaign, 1)
    potential = Potential.current(campaign)
    assert potential is not None
    switch = potential.record.lineage.reference.switches["Si-Si"]
    assert switch.outer == pytest.approx(0.8 * contact_distance("Si-Si"))
    assert switch.outer < shortest_in(campaign)
    (block,) = load_bbasis(potential.yaml).funcspecs_blocks
    assert (block.r_in, block.delta_in) == pytest.approx((switch.outer, switch.outer - switch.inner))
    assert block.inner_cutoff_type == ("zbl" if reference == CORE else "distance")


def test_radii_of_a_difference_do_not_say_where_ace_ends(make_linear: Make) -> None:
    radii = {"inner": 1.0, "outer": 2.5}
    closed = close_fit(solved(make_linear({**DELTA, "pairs": {"Si-Si": radii}}), 1))
    assert closed.reference.baseline is not None
    assert closed.reference.baseline.model_dump()["radii"] == {"Si-Si": radii}
    assert closed.reference.switches["Si-Si"].outer == pytest.approx(0.8 * contact_distance("Si-Si"))


def test_a_given_core_is_kept_below_the_data_and_lowered_above(make_linear: Make) -> None:
    low = make_linear({**CORE, "pairs": {"Si-Si": {"inner": 0.8, "outer": 1.6}}}, name="low")
    closed = close_fit(solved(low, 1))
    assert closed.reference.switches["Si-Si"].model_dump() == {"inner": 0.8, "outer": 1.6}
    assert closed.notes == ()

    high = make_linear({**CORE, "pairs": {"Si-Si": {"inner": 1.2, "outer": 2.4}}}, name="high")
    closed = close_fit(solved(high, 1))
    switch, outer = closed.reference.switches["Si-Si"], shortest_in(high) - 0.01
    assert (switch.inner, switch.outer) == pytest.approx((outer / 2, outer))
    (note,) = closed.notes
    assert "reference.pairs.Si-Si: outer 2.4 Å is not below the shortest distance in the data" in note


def test_a_cliff_at_the_switch_is_told(make_linear: Make) -> None:
    steep = make_linear({**CORE, "pairs": {"Si-Si": {"inner": 1.5, "outer": 1.55}}})
    closed = close_fit(solved(steep, 1))
    assert any("frame 3: the repulsion jumps from" in note for note in closed.notes)


def test_what_two_atoms_do_alone_is_told_in_short(make_linear: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = solved(make_linear(CORE), 1)
    monkeypatch.setattr(PairCurve, "uneven", lambda curve: [f"{curve.pair} {curve.where.split()[-1]} uneven"])
    among, alone = close_fit(plan).notes
    assert among == "Si-Si 3 uneven"
    assert alone.endswith("two atoms are not plainly repulsive: Si-Si")


def test_a_core_may_be_given_for_some_pairs_of_an_alloy(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    given = {"inner": 0.6, "outer": 1.2}
    reference = {**CORE, "pairs": {"Al-Ni": given}}
    campaign = make_campaign(fit={"max_epochs": 0}, elements=["Al", "Ni"], reference=reference)
    accumulate(campaign, [write_alloy(tmp_path / "alloy.extxyz", aluminium_nickel(8))])
    switches = close_fit(solved(campaign, 1)).reference.switches
    assert list(switches) == ["Al-Al", "Al-Ni", "Ni-Ni"]
    assert switches["Al-Ni"].model_dump() == given


@pytest.mark.parametrize("reference", [CORE, DELTA], ids=["core", "delta"])
def test_shorter_distances_in_the_second_generation_move_the_switch(
    make_linear: Make, tmp_path: Path, silicon: list[Atoms], reference: dict[str, Any]
) -> None:
    campaign = make_linear(reference, test={"fraction": 0})
    first = publish_linear(campaign, 1)
    accumulate(campaign, [squeezed(tmp_path / "closer.extxyz", silicon, 1.6, first)])
    second = publish_linear(campaign, 2)
    outer = [p.record.lineage.reference.switches["Si-Si"].outer for p in (first, second)]
    assert outer[0] == pytest.approx(0.8 * contact_distance("Si-Si"))
    assert outer[1] == pytest.approx(1.59, abs=1e-6)
    assert second.record.checks[0].numbers["trainer_eV_per_atom"] < 1e-7


def test_the_closest_atoms_may_be_in_either_split(make_linear: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = solved(make_linear(CORE), 1)
    asked = []
    iterate = DatasetStore.iterate
    monkeypatch.setattr(
        DatasetStore, "iterate", lambda store, split=None: asked.append(split) or iterate(store, split)
    )
    close_fit(plan)
    assert asked == [None]
