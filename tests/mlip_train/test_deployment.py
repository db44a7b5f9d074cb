"""What is made of a fitted potential, on real silicon data and without running the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from mlip_train import deployment as deployment_module
from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.dataset import DatasetStore
from mlip_train.deployment import deploy_fit
from mlip_train.distances import closest_approaches
from mlip_train.generation import finish_linear
from mlip_train.grading import grade_potential
from mlip_train.measuring import evaluate_fit
from mlip_train.pacemaker.bbasis import load_bbasis
from mlip_train.pacemaker.inner_cutoff import close
from mlip_train.pair_curves import ALONE, Growth, PairCurve
from mlip_train.planning import FitPlan, write_fit
from mlip_train.potential import Potential
from mlip_train.priors import SwitchRadii
from mlip_train.reference import contact_distance
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.alloys import write_frames as write_alloy
from tests.mlip_train.frames import structure, with_results
from tests.mlip_train.planning import edit, planned, publish_linear
from tests.mlip_train.squeezed import squeezed

WriteBatch = Callable[[int, int], Path]
Make = Callable[..., Campaign]
MakeCampaign = Callable[..., Campaign]

BASIS = {
    "cutoff": 5.0, "functions_per_element": 40, "nradmax_by_orders": [8, 3, 2], "lmax_by_orders": [0, 3, 2],
    "embedding": "linear",
}  # fmt: skip
NONE: dict[str, Any] = {"kind": "none"}
CORE = {"kind": "zbl", "mode": "core"}
DELTA = {"kind": "zbl", "mode": "delta"}  # which ends below all distances in the data
FAR = {**DELTA, "pairs": {"Si-Si": {"inner": 1.1, "outer": 2.8}}}  # which does not
LJ = {"kind": "lj", "cutoff": 4.5, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": 2.0}}}
ALL = pytest.mark.parametrize("reference", [NONE, CORE, FAR, LJ], ids=["none", "core", "delta", "lj"])
PRIORS = pytest.mark.parametrize("reference", [CORE, DELTA, FAR, LJ], ids=["core", "delta", "far", "lj"])


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
    return closest_approaches((row.structure for row in campaign.store.iterate()), ["Si"], 5.0)["Si-Si"].shortest


def linear(campaign: Campaign, generation: int) -> FitPlan:
    plan = planned(campaign, generation)
    finish_linear(plan)
    return plan


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, campaign_text: Callable[..., str], write_frames: Callable[..., Path]
) -> Callable[[dict[str, Any]], Potential]:
    """Publishes a linear potential once for each reference."""
    done: dict[str, Potential] = {}

    def made(reference: dict[str, Any]) -> Potential:
        if str(reference) not in done:
            root = tmp_path_factory.mktemp("published")
            text = campaign_text(basis=BASIS, fit={"max_epochs": 0}, reference=reference)
            campaign = Campaign.create(root / "campaign", text)
            accumulate(campaign, [write_frames(root / "silicon.extxyz", 0, 20)])
            done[str(reference)] = publish_linear(campaign, 1)
        return done[str(reference)]

    return made


@ALL
def test_the_exported_file_and_its_baseline_predict_what_was_fitted(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    plan = linear(campaign, 1)
    deploy_fit(plan)
    grade_potential(campaign, 1, 1.01)
    evaluation = evaluate_fit(plan)
    assert evaluation.trainer_disagreement < 1e-7
    assert plan.start_errors is not None
    assert evaluation.train.overall.energy_rmse == pytest.approx(plan.start_errors.energy_rmse, rel=1e-6)


@PRIORS
def test_two_atoms_repel_down_to_where_they_almost_touch(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    plan = linear(campaign, 1)
    deployment = deploy_fit(plan)
    alone, among = deployment.curves
    for curve in (alone, among):
        energies = np.array(curve.energies)[np.array(curve.distances) <= curve.edge]
        assert (np.diff(energies) < 0).all()
        assert np.interp(0.5, curve.distances, curve.energies) - energies[-1] > 300
    assert deployment.notes == deployment.holes == ()


def test_without_a_reference_potential_the_user_is_told(make: Make) -> None:
    plan = linear(make(NONE), 1)
    deployment = deploy_fit(plan)
    (note,) = deployment.notes
    assert "nothing is known of atoms that are closer than Si-Si 2.02 Å" in note
    assert "Set reference: zbl" in note


def test_a_switch_goes_out_to_the_data_where_the_potential_fails_before(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = linear(make(CORE), 1)
    monkeypatch.setattr(PairCurve, "hole", lambda curve: "a hole")
    shortest = shortest_in(Campaign(plan.campaign))
    assert deploy_fit(plan).reference.switches["Si-Si"].outer == pytest.approx(shortest - 0.01)


def test_the_narrowest_of_smooth_switches_is_taken(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = linear(make(CORE), 1)
    monkeypatch.setattr(PairCurve, "jump", Growth(start=1.0, by=0.9, begin=1.0, end=1.1))
    switch = deploy_fit(plan).reference.switches["Si-Si"]
    assert switch.inner == pytest.approx(0.9 * switch.outer)


@pytest.mark.parametrize("alone", [False, True])
def test_the_smoothest_switch_is_taken(make: Make, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    plan = linear(make(CORE), 1)
    widths = []

    def note(fitted: Path, target: Path, closing: Any, radii: dict[str, SwitchRadii]) -> None:
        widths.append(1 - radii["Si-Si"].inner / radii["Si-Si"].outer)
        close(fitted, target, closing, radii)

    def jump(curve: PairCurve) -> Growth:
        by = 2.0 + 10 * abs(widths[-1] - 0.3) if (curve.where == ALONE) == alone else 2.0
        return Growth(start=9.0, by=by, begin=1.0, end=1.1)

    monkeypatch.setattr(deployment_module, "close", note)
    monkeypatch.setattr(PairCurve, "jump", property(jump))
    switch = deploy_fit(plan).reference.switches["Si-Si"]
    assert switch.inner == pytest.approx(0.7 * switch.outer)


@PRIORS
def test_the_switch_lies_below_everything_in_the_data(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
    publish_linear(campaign, 1)
    potential = Potential.current(campaign)
    assert potential is not None
    switch = potential.record.lineage.reference.switches["Si-Si"]
    assert switch.outer == pytest.approx(0.8 * contact_distance("Si-Si"))
    assert switch.outer < shortest_in(campaign)
    (block,) = load_bbasis(potential.yaml).funcspecs_blocks
    assert (block.r_in, block.delta_in) == pytest.approx((switch.outer, switch.outer - switch.inner))
    assert block.inner_cutoff_type == ("zbl" if reference == CORE else "distance")


def test_radii_of_a_difference_do_not_say_where_ace_ends(make: Make) -> None:
    radii = {"inner": 1.0, "outer": 2.5}
    deployment = deploy_fit(linear(make({**DELTA, "pairs": {"Si-Si": radii}}), 1))
    assert deployment.reference.baseline is not None
    assert deployment.reference.baseline.model_dump()["radii"] == {"Si-Si": radii}
    assert deployment.reference.switches["Si-Si"].outer == pytest.approx(0.8 * contact_distance("Si-Si"))


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
    assert "reference.pairs.Si-Si: outer 2.4 Å is not below the shortest distance in the data" in note


def test_a_cliff_at_the_switch_is_told(make: Make) -> None:
    steep = make({**CORE, "pairs": {"Si-Si": {"inner": 1.5, "outer": 1.55}}})
    deployment = deploy_fit(linear(steep, 1))
    assert any("frame 3: the repulsion jumps from" in note for note in deployment.notes)


def test_what_two_atoms_do_alone_is_told_in_short(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = linear(make(CORE), 1)
    monkeypatch.setattr(PairCurve, "uneven", lambda curve: [f"{curve.pair} {curve.where.split()[-1]} uneven"])
    among, alone = deploy_fit(plan).notes
    assert among == "Si-Si 3 uneven"
    assert alone.endswith("two atoms are not plainly repulsive: Si-Si")


def test_a_core_may_be_given_for_some_pairs_of_an_alloy(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    given = {"inner": 0.6, "outer": 1.2}
    reference = {**CORE, "pairs": {"Al-Ni": given}}
    campaign = make_campaign(fit={"max_epochs": 0}, elements=["Al", "Ni"], reference=reference)
    accumulate(campaign, [write_alloy(tmp_path / "alloy.extxyz", aluminium_nickel(8))])
    switches = deploy_fit(linear(campaign, 1)).reference.switches
    assert list(switches) == ["Al-Al", "Al-Ni", "Ni-Ni"]
    assert switches["Al-Ni"].model_dump() == given


@pytest.mark.parametrize("reference", [CORE, DELTA], ids=["core", "delta"])
def test_shorter_distances_in_the_second_generation_move_the_switch(
    make: Make, tmp_path: Path, silicon: list[Atoms], reference: dict[str, Any]
) -> None:
    campaign = make(reference, test={"fraction": 0})
    first = publish_linear(campaign, 1)
    accumulate(campaign, [squeezed(tmp_path / "closer.extxyz", silicon, 1.6, first)])
    second = publish_linear(campaign, 2)
    outer = [p.record.lineage.reference.switches["Si-Si"].outer for p in (first, second)]
    assert outer[0] == pytest.approx(0.8 * contact_distance("Si-Si"))
    assert outer[1] == pytest.approx(1.59, abs=1e-6)
    assert second.record.errors.trainer_disagreement < 1e-7


@pytest.mark.parametrize("reference", [FAR, LJ], ids=["delta", "lj"])
def test_labels_are_differences_and_the_dataset_keeps_dft(make: Make, reference: dict[str, Any]) -> None:
    campaign = make(reference)
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


@pytest.mark.parametrize("epochs", [0, 5])
@pytest.mark.parametrize(("sigma", "widens"), [(2.0, False), (2.46, False), (2.5, True)])
def test_a_baseline_that_leaves_more_to_learn_is_told(make: Make, sigma: float, widens: bool, epochs: int) -> None:
    campaign = make({**LJ, "pairs": {"Si-Si": {"epsilon": 0.1, "sigma": sigma}}})
    edit(campaign, fit={"max_epochs": epochs})
    notes = write_fit(planned(Campaign(campaign.root), 1))
    assert ["times as large as those of DFT" in note for note in notes] == [True] * widens


def test_a_baseline_that_leaves_anything_where_dft_has_no_forces_is_told(
    make_campaign: MakeCampaign, tmp_path: Path, silicon: list[Atoms]
) -> None:
    still = [with_results(atoms.copy(), energy=-40.0, forces=np.zeros((len(atoms), 3))) for atoms in silicon[:4]]
    campaign = make_campaign(basis=BASIS, fit={"max_epochs": 0}, reference=LJ)
    accumulate(campaign, [write_alloy(tmp_path / "still.extxyz", still)])
    (note,) = write_fit(planned(campaign, 1))
    assert "are inf times as large" in note


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
    assert str(alone.record.lineage.reference).startswith("zbl (core) takes over from ACE between 1.78 and ")
    part = publish_linear(make(DELTA, name="delta"), 1)
    assert part.use.startswith(
        "potential_gen_01.yace alone is only the difference to zbl: include potential_gen_01.lmp"
    )
    assert str(part.record.lineage.reference).startswith(
        "zbl (delta) is added to ACE, which fades out between 1.78"
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


def test_pairs_that_never_meet_are_known_down_to_where_their_atoms_touch() -> None:
    alloy = [s for s in checked(aluminium_nickel(8)) if len(set(s.symbols)) == 1]
    found = closest_approaches(alloy, ["Al", "Ni"], 5.0)
    assert found["Al-Ni"].edge == contact_distance("Al-Ni")
    assert found["Al-Ni"].collision is None
    distances = [s.to_atoms().get_all_distances(mic=True) for s in alloy if s.symbols[0] == "Al"]
    assert found["Al-Al"].shortest <= min(d[d > 0].min() for d in distances) + 1e-9


def test_pairs_that_meet_far_apart_are_known_no_farther_than_where_they_touch() -> None:
    far = with_results(Atoms("AlNi", positions=[[0, 0, 0], [0, 0, 3.5]]), energy=0.0, forces=np.zeros((2, 3)))
    approach = closest_approaches([structure(far)], ["Al", "Ni"], 5.0)["Al-Ni"]
    assert (approach.shortest, approach.edge) == (pytest.approx(3.5), contact_distance("Al-Ni"))


def test_the_closest_atoms_may_be_in_either_split(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = linear(make(CORE), 1)
    asked = []
    iterate = DatasetStore.iterate
    monkeypatch.setattr(
        DatasetStore, "iterate", lambda store, split=None: asked.append(split) or iterate(store, split)
    )
    deploy_fit(plan)
    assert asked == [None]


@pytest.mark.parametrize("reference", [FAR, LJ], ids=["delta", "lj"])
def test_forces_and_stress_of_the_sum_are_derivatives_of_its_energy(make: Make, reference: dict[str, Any]) -> None:
    calculator = publish_linear(make(reference), 1).calculator()
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.3, seed=3)
    atoms.calc = calculator
    baseline = calculator.baseline.compute(atoms)
    assert np.abs(baseline.forces).max() > 0.1
    assert np.abs(baseline.stress).max() > 1e-3
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-4), atol=1e-5)


def test_a_cluster_has_no_stress_of_ace_alone(make: Make) -> None:
    calculator = publish_linear(make(DELTA), 1).calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1.5]], cell=[10, 10, 10]))
    assert "stress" not in calculator.results


@pytest.mark.parametrize("reference", [CORE, DELTA, LJ], ids=["core", "delta", "lj"])
@pytest.mark.parametrize("distance", [1.5, 1.2, 0.9, 0.6])
def test_atoms_that_collide_are_extrapolation(
    published: Callable[[dict[str, Any]], Potential], reference: dict[str, Any], distance: float
) -> None:
    calculator = published(reference).calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, distance]]))
    assert calculator.results["gamma"].min() > 5


def test_errors_of_the_potential_before_are_those_of_its_sum(make: Make, write_batch: WriteBatch) -> None:
    campaign = make(LJ)
    first = publish_linear(campaign, 1)
    second = publish_linear(campaign, 2)
    assert first.errors.test is not None
    assert second.errors.before == first.errors.test


def test_the_potential_before_is_judged_on_the_elements_that_it_knows(
    make_campaign: MakeCampaign, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("reference", [DELTA, {**LJ, "mixing": "arithmetic"}], ids=["delta", "lj"])
def test_a_new_element_is_no_change_of_the_reference(
    make_campaign: MakeCampaign, tmp_path: Path, reference: dict[str, Any]
) -> None:
    pairs = {"Al-Al": {"epsilon": 0.01, "sigma": 2.2}}
    one = {**reference, "pairs": pairs} if reference["kind"] == "lj" else reference
    small = {**BASIS, "functions_per_element": 8, "nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1]}
    campaign = make_campaign(basis=small, fit={"max_epochs": 0}, elements=["Al"], reference=one)
    accumulate(campaign, [write_alloy(tmp_path / "one.extxyz", aluminium(6))])
    publish_linear(campaign, 1)
    accumulate(campaign, [write_alloy(tmp_path / "more.extxyz", aluminium(4, seed=1))])
    edit(campaign, elements=["Al", "Ni"], fit={"max_epochs": 5}, basis={"functions_per_element": 30})
    if reference["kind"] == "lj":
        edit(campaign, reference={"pairs": {**pairs, "Ni-Ni": {"epsilon": 0.02, "sigma": 2.1}}})
    campaign = Campaign(campaign.root)
    accumulate(campaign, [write_alloy(tmp_path / "two.extxyz", aluminium_nickel(6))])
    start = planned(campaign, 2).start
    assert (start.kind, start.generation) == ("previous", 1), start
