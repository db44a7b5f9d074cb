"""What a fit begins from; without running the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mlip_train.ace.bbasis import coefficients_of, load_bbasis
from mlip_train.ace.warm_start import has_idle_density, seed_second_density
from mlip_train.base.files import sha256_of
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import Parent
from mlip_train.errors import TrainingFailedError
from mlip_train.fit import starting
from mlip_train.fit.starting import errors_of_start, lay_basis
from mlip_train.intake.accumulation import accumulate
from mlip_train.potential.potential import Potential
from tests.mlip_train.alloys import aluminium, aluminium_nickel
from tests.mlip_train.alloys import write_frames as write_alloy
from tests.mlip_train.bbasis import predictions, write_random
from tests.mlip_train.planning import edit, planned, publish_linear, solved
from tests.mlip_train.references import BASIS, CORE, DELTA, LJ, NONE

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


def note_checksum(potential: Potential) -> None:
    """Make a bundle whole again whose B-basis was changed."""
    record = json.loads(potential.path.read_text())
    record["files"][potential.yaml.name] = sha256_of(potential.yaml)
    potential.path.write_text(json.dumps(record))


def structures_of(campaign: Campaign) -> list[Any]:
    return [row.structure for row in campaign.store.iterate("train")]


def test_the_first_fit_starts_from_the_linear_solution(make_small: Make) -> None:
    plan = planned(make_small(), 1)
    assert plan.start.kind == "linear"
    assert str(plan.start) == "starts from the linear solution (there is no earlier potential)"
    assert plan.solution is not None
    native = yaml.safe_load(plan.run.input_yaml.read_text())
    assert native["potential"] == str(plan.run.start_potential)
    blocks = load_bbasis(plan.run.start_potential).funcspecs_blocks
    assert all(f.coeffs[1] != 0 for block in blocks for f in block.funcspecs)


def test_the_first_fit_starts_from_zeros_if_it_is_told_to(make_small: Make) -> None:
    plan = planned(make_small(start={"first": "zeros"}), 1)
    assert (plan.start.kind, plan.solution, plan.start_errors) == ("zeros", None, None)
    assert not plan.run.start_potential.exists()
    assert "elements" in yaml.safe_load(plan.run.input_yaml.read_text())["potential"]


def test_a_later_fit_continues_the_current_potential(second: Campaign) -> None:
    parent = Potential.current(second)
    assert parent is not None
    plan = planned(second, 2)
    assert str(plan.start) == "continues generation 1 (it has the same basis)"
    assert plan.solution is None
    structures = structures_of(second)
    for before, after in zip(
        predictions(parent.yaml, structures), predictions(plan.run.start_potential, structures), strict=True
    ):
        assert np.allclose(before, after, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"basis": {"cutoff": 4.7}}, "linear", "the cutoff changed since generation 1"),
        (
            {"basis": {"cutoff": 4.7, "embedding": "finnis_sinclair"}}, "linear",
            "the cutoff and the embedding changed since generation 1",
        ),
        ({"basis": {"functions_per_element": 11, "nradmax_by_orders": [5, 3]}}, "previous", "grown by 3"),
        ({"basis": {"functions_per_element": 6}}, "linear", "2 functions of generation 1 are not in the basis"),
        ({"start": {"next": "linear"}}, "linear", "start.next is linear"),
        ({"start": {"next": "zeros"}}, "zeros", "start.next is zeros"),
        ({"fit": {"max_epochs": 0}}, "linear", "fit.max_epochs is 0"),
    ],
    ids=["cutoff", "cutoff and embedding", "larger", "smaller", "next linear", "next zeros", "no epochs"],
)  # fmt: skip
def test_what_changed_decides_what_a_later_fit_begins_from_and_is_said(
    second: Campaign, changes: dict[str, Any], kind: str, told: str
) -> None:
    edit(second, **changes)
    plan = planned(second, 2)
    assert plan.start.kind == kind
    assert told in str(plan.start)
    assert (plan.solution is not None) == (kind == "linear")
    assert (plan.start.generation == 1) == ("changed since" not in told and kind != "zeros")


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [({"functions_per_element": 6}, True), ({"functions_per_element": 9}, True), ({"cutoff": 4.7}, False)],
    ids=["smaller", "larger", "cutoff"],
)
def test_radial_functions_are_kept_unless_they_mean_something_else_now(
    make_small: Make, changes: dict[str, Any], is_kept: bool
) -> None:
    campaign = make_small(fit={"max_epochs": 0})
    parent = publish_linear(campaign, 1)
    write_random(parent.yaml, campaign.config)
    note_checksum(parent)
    edit(campaign, basis=changes)
    ground = lay_basis(campaign, 2)
    old, new = (
        np.array(load_bbasis(path).funcspecs_blocks[0].radcoefficients) for path in (parent.yaml, ground.run.basis)
    )
    common = tuple(slice(size) for size in np.minimum(old.shape, new.shape))
    assert np.array_equal(old[common], new[common]) == is_kept
    assert ground.start.generation == (1 if is_kept else None)
    assert ground.parent == Parent(generation=1, record=parent.path, sha256=sha256_of(parent.yaml))


def test_a_second_density_that_the_linear_solution_left_at_zero_is_seeded_and_the_first_solved_anew(
    make_small: Make, write_batch: WriteBatch
) -> None:
    campaign = make_small(fit={"max_epochs": 0})
    parent = publish_linear(campaign, 1)
    assert has_idle_density(parent.yaml)
    accumulate(campaign, [write_batch(5, 12)])
    edit(campaign, fit={"max_epochs": 8})
    plan = planned(campaign, 2)
    assert (plan.start.kind, plan.start.generation) == ("linear", 1)
    assert "the second density of generation 1 was never trained" in str(plan.start)
    blocks = load_bbasis(plan.run.start_potential).funcspecs_blocks
    assert all(0 != f.coeffs[1] != f.coeffs[0] for block in blocks for f in block.funcspecs)
    assert plan.solution is not None
    assert plan.start_errors is not None
    assert 1e3 * plan.solution.energy_rmse == pytest.approx(plan.start_errors.energy_rmse, rel=1e-4)
    assert 1e3 * plan.solution.force_rmse == pytest.approx(plan.start_errors.force_rmse, rel=1e-3)


def test_a_second_density_that_was_trained_is_continued(make_small: Make, write_batch: WriteBatch) -> None:
    campaign = make_small(fit={"max_epochs": 0})
    parent = publish_linear(campaign, 1)
    seed_second_density(parent.yaml)
    note_checksum(parent)
    accumulate(campaign, [write_batch(5, 7)])
    edit(campaign, fit={"max_epochs": 8})
    assert str(planned(campaign, 2).start) == "continues generation 1 (it has the same basis)"


def test_the_linear_solution_alone_leaves_the_second_density_idle(make_small: Make) -> None:
    plan = planned(make_small(fit={"max_epochs": 0}), 1)
    assert has_idle_density(plan.run.start_potential)
    assert not plan.run.start_curvature.exists()


def test_a_grown_start_predicts_what_the_parent_predicted(second: Campaign) -> None:
    parent = Potential.current(second)
    assert parent is not None
    edit(second, basis={"functions_per_element": 11, "nradmax_by_orders": [5, 3]})
    plan = planned(second, 2)
    structures = structures_of(second)
    before, _ = predictions(parent.yaml, structures)
    after, _ = predictions(plan.run.start_potential, structures)
    assert np.allclose(before, after, rtol=0, atol=1e-10)
    assert len(coefficients_of(plan.run.start_potential)) > len(coefficients_of(parent.yaml))


def test_the_errors_of_a_start_are_those_of_its_potential_on_the_chosen_structures(second: Campaign) -> None:
    plan = planned(second, 2)
    structures = structures_of(second)
    energies, forces = predictions(plan.run.start_potential, structures)
    shift = second.store.manifest.reference_energies["Si"]
    sizes = np.array([len(s.numbers) for s in structures])
    labels = np.array([s.energy for s in structures]) - shift * sizes
    assert plan.start_errors is not None
    assert plan.start_errors.energy_rmse == pytest.approx(
        1e3 * np.sqrt((((energies - labels) / sizes) ** 2).mean()), rel=1e-6
    )
    errors = forces - np.concatenate([s.forces.ravel() for s in structures])
    assert plan.start_errors.force_rmse == pytest.approx(1e3 * np.sqrt((errors**2).mean()), rel=1e-6)


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
    make_linear: Make, write_batch: WriteBatch, before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    campaign = make_linear(before)
    publish_linear(campaign, 1)
    accumulate(campaign, [write_batch(20, 24)])
    edit(campaign, fit={"max_epochs": 5})
    edit(campaign, reference=None)  # or the new section would be merged into the old
    edit(campaign, reference=after)
    plan = planned(Campaign(campaign.root), 2)
    assert plan.start.reason == told
    assert plan.start.generation == 1


@pytest.mark.fits
@pytest.mark.parametrize("reference", [DELTA, {**LJ, "mixing": "arithmetic"}], ids=["delta", "lj"])
def test_a_new_element_is_no_change_of_the_reference(
    make_campaign: Make, tmp_path: Path, reference: dict[str, Any]
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


def test_a_weighting_that_leaves_nothing_to_learn_from_is_named(
    make_linear: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = solved(make_linear(DELTA), 1)
    monkeypatch.setattr(starting, "labelled_structures", lambda plan: iter(()))
    with pytest.raises(TrainingFailedError, match="leaves out every structure"):
        errors_of_start(plan)
