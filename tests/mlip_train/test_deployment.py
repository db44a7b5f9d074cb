"""What is made of a fitted potential, on real silicon data and without running the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.deployment import check_dimers, deploy_fit
from mlip_train.distances import closest_approaches
from mlip_train.errors import RejectedPotentialError
from mlip_train.generation import evaluate_fit, finish_linear
from mlip_train.pacemaker.bbasis import load_bbasis
from mlip_train.planning import FitPlan, write_fit
from mlip_train.potential import Potential
from mlip_train.priors import ZBLPotential
from mlip_train.reference import contact_distance
from tests.mlip_train.alloys import aluminium_nickel, checked
from tests.mlip_train.planning import edit, planned, publish_linear
from tests.mlip_train.squeezed import squeezed

WriteBatch = Callable[[int, int], Path]
Make = Callable[..., Campaign]

BASIS = {
    "cutoff": 5.0, "functions_per_element": 40, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2],
    "embedding": "linear",
}  # fmt: skip
NONE: dict[str, Any] = {"kind": "none"}
CORE = {"kind": "zbl", "mode": "core"}
DELTA = {"kind": "zbl", "mode": "delta"}
LJ = {"kind": "lj", "cutoff": 4.5, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": 2.0}}}
ALL = pytest.mark.parametrize("reference", [NONE, CORE, DELTA, LJ], ids=["none", "core", "delta", "lj"])
PRIORS = pytest.mark.parametrize("reference", [CORE, DELTA, LJ], ids=["core", "delta", "lj"])


@pytest.fixture
def make(make_campaign: Callable[..., Campaign], write_batch: WriteBatch) -> Make:
    """Makes a campaign of linear solutions with twenty structures."""

    def made(reference: dict[str, Any], **keys: Any) -> Campaign:
        campaign = make_campaign(basis=BASIS, fit={"max_epochs": 0}, reference=reference, **keys)
        accumulate(campaign, [write_batch(0, 20)])
        return campaign

    return made


def dimer(calculator: Any, r: float) -> float:
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, r]]))
    return float(calculator.results["energy"])


def shortest_in(campaign: Campaign) -> float:
    return closest_approaches((row.structure for row in campaign.store.iterate()), ["Si"])["Si-Si"]


def linear(campaign: Campaign, generation: int) -> FitPlan:
    plan = planned(campaign, generation)
    finish_linear(plan)
    return plan


@ALL
def test_the_exported_file_and_its_baseline_predict_what_was_fitted(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    plan = linear(campaign, 1)
    deploy_fit(plan)
    evaluation = evaluate_fit(plan)
    assert evaluation.trainer_disagreement < 1e-7
    assert plan.start_errors is not None
    assert evaluation.train.overall.energy_rmse == pytest.approx(plan.start_errors.energy_rmse, rel=1e-6)


@PRIORS
def test_two_atoms_repel_down_to_where_they_almost_touch(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    plan = linear(campaign, 1)
    deployment = deploy_fit(plan)
    curve = deployment.dimers["Si-Si"]
    energies = np.array(curve.energies)[np.array(curve.distances) <= curve.shortest]
    assert (np.diff(energies) < 0).all()
    assert np.interp(0.5, curve.distances, curve.energies) > 300
    assert deployment.notes == deployment.holes == ()
    check_dimers(plan, deployment)


def test_without_a_reference_potential_the_user_is_told(make: Make) -> None:
    plan = linear(make(NONE), 1)
    deployment = deploy_fit(plan)
    (note,) = deployment.notes
    assert "below the shortest distances in the data (Si-Si 2.02 Å)" in note
    assert "Set reference: {kind: zbl}" in note
    assert len(deployment.holes) == 1  # this one attracts
    check_dimers(plan, deployment)


@PRIORS
def test_a_hole_beside_a_reference_potential_is_refused(
    make: Make, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = linear(make(reference), 1)
    open_all = lambda fitted, target, closing, radii: target.write_bytes(fitted.read_bytes())  # noqa: E731
    monkeypatch.setattr("mlip_train.deployment.close", open_all)
    monkeypatch.setattr(ZBLPotential, "pair_energy", lambda self, pair, r: (np.zeros_like(r), np.zeros_like(r)))
    deployment = deploy_fit(plan)
    if reference is LJ:
        assert deployment.holes == ()  # stronger than anything that ACE makes up
        return
    with pytest.raises(RejectedPotentialError, match=r"Si-Si: two atoms closer than .* fall together"):
        check_dimers(plan, deployment)


@PRIORS
def test_the_switch_lies_below_everything_in_the_data(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    publish_linear(campaign, 1)
    potential = Potential.current(campaign)
    assert potential is not None
    switch = potential.record.lineage.reference.switches["Si-Si"]
    shortest = shortest_in(campaign)
    assert shortest - 0.02 < switch.outer < shortest
    (block,) = load_bbasis(potential.yaml).funcspecs_blocks
    assert (block.r_in, block.delta_in) == pytest.approx((switch.outer, switch.outer - switch.inner))


def test_a_given_core_is_kept_below_the_data_and_lowered_above(make: Make) -> None:
    low = make({**CORE, "pairs": {"Si-Si": {"inner": 0.8, "outer": 1.6}}}, name="low")
    deployment = deploy_fit(linear(low, 1))
    assert deployment.reference.switches["Si-Si"].model_dump() == {"inner": 0.8, "outer": 1.6}
    assert deployment.notes == ()

    high = make({**CORE, "pairs": {"Si-Si": {"inner": 1.2, "outer": 2.4}}}, name="high")
    deployment = deploy_fit(linear(high, 1))
    switch, outer = deployment.reference.switches["Si-Si"], shortest_in(high) - 0.01
    assert (switch.inner, switch.outer) == pytest.approx((outer / 2, outer))
    (note,) = deployment.notes
    assert "reference.pairs.Si-Si: outer 2.4 Å is above the shortest distance in the data" in note


def test_a_cliff_at_the_switch_is_told(make: Make) -> None:
    steep = make({**CORE, "pairs": {"Si-Si": {"inner": 1.5, "outer": 1.54}}})
    deployment = deploy_fit(linear(steep, 1))
    (note,) = deployment.notes
    assert "Si-Si: the repulsion of two atoms jumps from" in note


@pytest.mark.parametrize("reference", [CORE, DELTA], ids=["core", "delta"])
def test_shorter_distances_in_the_second_generation_move_the_switch(
    make: Make, tmp_path: Path, silicon: list[Atoms], reference: dict[str, Any]
) -> None:
    campaign = make(reference, test={"fraction": 0})
    first = publish_linear(campaign, 1)
    accumulate(campaign, [squeezed(tmp_path / "closer.extxyz", silicon, 1.6, first)])
    second = publish_linear(campaign, 2)
    outer = [p.record.lineage.reference.switches["Si-Si"].outer for p in (first, second)]
    assert outer[0] > 1.9
    assert outer[1] == pytest.approx(1.59, abs=1e-6)
    assert second.record.errors.trainer_disagreement < 1e-7


def test_labels_are_differences_and_the_dataset_keeps_dft(make: Make) -> None:
    campaign = make(LJ)
    plan = linear(campaign, 1)
    assert plan.baseline is not None
    learned = pd.read_pickle(plan.run.train_data, compression="gzip").set_index("name")
    accumulated = pd.read_pickle(campaign.accumulated, compression="gzip").set_index("name")
    tested = pd.read_pickle(plan.run.test_data, compression="gzip").set_index("name")
    for row in campaign.store.iterate():
        structure = row.structure
        taken = plan.baseline.compute(structure.to_atoms())
        fitted = (learned if row.split == "train" else tested).loc[structure.structure_id]
        assert abs(taken.energy) > 0.1
        assert fitted["energy"] + taken.energy == pytest.approx(structure.energy, abs=1e-12)
        np.testing.assert_allclose(fitted["forces"] + taken.forces, structure.forces, atol=1e-12)
        if row.split == "train":
            assert accumulated.loc[structure.structure_id]["energy"] == structure.energy


@pytest.mark.parametrize(("sigma", "widens"), [(2.0, False), (3.4, True)])
def test_a_baseline_that_leaves_more_to_learn_is_told(make: Make, sigma: float, widens: bool) -> None:
    campaign = make({**LJ, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": sigma}}})
    notes = write_fit(planned(campaign, 1))
    assert ["times as large as those of DFT" in note for note in notes] == [True] * widens


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (NONE, DELTA, "the reference potential changed since generation 1"),
        (DELTA, LJ, "the reference potential changed since generation 1"),
        (DELTA, NONE, "the reference potential changed since generation 1"),
        (
            DELTA,
            {**DELTA, "pairs": {"Si-Si": {"inner": 1.0, "outer": 2.5}}},
            "the reference potential changed since generation 1",
        ),
        (NONE, CORE, "it has the same basis"),
        (CORE, NONE, "it has the same basis"),
        (DELTA, DELTA, "it has the same basis"),
    ],
    ids=["none-delta", "delta-lj", "delta-none", "other radii", "none-core", "core-none", "same"],
)
def test_what_changed_between_generations_is_noticed(
    make: Make, write_batch: WriteBatch, before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    campaign = make(before)
    publish_linear(campaign, 1)
    accumulate(campaign, [write_batch(20, 24)])
    edit(campaign, fit={"max_epochs": 5})
    edit(campaign, reference=None)  # or the new section would be merged into the old
    edit(campaign, reference=after)
    plan = planned(Campaign(campaign.root), 2)
    assert plan.start.reason == told
    assert plan.start.generation == 1


def test_another_baseline_is_another_fit_and_a_core_is_not(make: Make) -> None:
    identities = []
    campaign = make(NONE)
    for reference in (NONE, CORE, DELTA, LJ):
        edit(campaign, reference=None)
        edit(campaign, reference=reference)
        identities.append(planned(Campaign(campaign.root), 1).identity)
    assert identities[0] == identities[1]
    assert len(set(identities)) == 3


def test_a_difference_says_that_its_file_is_not_all(make: Make) -> None:
    alone = publish_linear(make(CORE, name="core"), 1)
    assert alone.use.startswith("Run potential_gen_01.yace in MD")
    assert str(alone.record.lineage.reference).startswith("zbl (core) takes over from ACE between 2.01 and ")
    part = publish_linear(make(DELTA, name="delta"), 1)
    assert part.use.startswith(
        "potential_gen_01.yace alone is only the difference to zbl: include potential_gen_01.lmp"
    )
    assert str(part.record.lineage.reference).startswith(
        "zbl (delta) is added to ACE, which fades out between 2.01"
    )


@ALL
def test_the_published_calculator_is_what_was_evaluated(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    potential = publish_linear(campaign, 1)
    calculator, energies = potential.calculator(), potential.record.reference_energies
    errors = []
    for row in campaign.store.iterate("train"):
        atoms = row.structure.to_atoms()
        atoms.calc = calculator
        errors.append((atoms.get_potential_energy() - row.structure.energy) / len(atoms) + energies["Si"])
        assert calculator.results["gamma"].shape == (len(atoms),)
        assert atoms.get_stress().shape == (6,)
    rmse = 1e3 * float(np.sqrt(np.mean(np.square(errors))))
    assert rmse == pytest.approx(potential.errors.train.overall.energy_rmse, rel=1e-6)


def test_pairs_that_never_meet_are_as_far_as_their_atoms_are_large() -> None:
    alloy = [s for s in checked(aluminium_nickel(8)) if len(set(s.symbols)) == 1]
    found = closest_approaches(alloy, ["Al", "Ni"])
    assert found["Al-Ni"] == contact_distance("Al-Ni")
    distances = [s.to_atoms().get_all_distances(mic=True) for s in alloy if s.symbols[0] == "Al"]
    assert found["Al-Al"] <= min(d[d > 0].min() for d in distances) + 1e-9
