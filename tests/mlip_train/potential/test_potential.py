from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlip_train.assess.measuring import evaluate_fit
from mlip_train.campaign.campaign import Campaign, member_file
from mlip_train.errors import CorruptFileError, InputError
from mlip_train.fit.closing import close_fit
from mlip_train.fit.committee import form_committee, solve_members
from mlip_train.fit.grading import grade_potential
from mlip_train.fit.record import record_of
from mlip_train.fit.training import finish_linear
from mlip_train.intake.accumulation import accumulate
from mlip_train.potential.potential import Potential, publish
from mlip_train.records.potential import PotentialRecord
from mlip_train.records.verdict import Verdict
from tests.mlip_train.planning import edit, planned, publish_linear
from tests.mlip_train.references import ALL, BASIS, CORE, DELTA, LJ
from tests.mlip_train.rejection import BAD, add, copied, crash_at

Make = Callable[..., Campaign]
WriteBatch = Callable[[int, int], Path]


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


def test_a_difference_says_that_its_file_is_not_all(make_linear: Make) -> None:
    alone = publish_linear(make_linear(CORE, name="core"), 1)
    assert alone.use.startswith("Run potential_gen_01.yace in MD")
    assert str(alone.record.lineage.reference).startswith("zbl (core) takes over from ACE between 1.78 and ")
    part = publish_linear(make_linear(DELTA, name="delta"), 1)
    assert part.use.startswith(
        "potential_gen_01.yace alone is only the difference to zbl: include potential_gen_01.lmp"
    )
    assert str(part.record.lineage.reference).startswith(
        "zbl (delta) is added to ACE, which fades out between 1.78"
    )


@ALL
def test_the_published_calculator_is_what_was_evaluated(make_linear: Make, reference: dict[str, Any]) -> None:
    campaign = make_linear(reference)
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


@pytest.mark.parametrize("reference", [CORE, DELTA, LJ], ids=["core", "delta", "lj"])
@pytest.mark.parametrize("distance", [1.5, 1.2, 0.9, 0.6])
def test_atoms_that_collide_are_extrapolation(
    published: Callable[[dict[str, Any]], Potential], reference: dict[str, Any], distance: float
) -> None:
    calculator = published(reference).calculator()
    calculator.calculate(Atoms("Si2", positions=[[0, 0, 0], [0, 0, distance]]))
    assert calculator.results["gamma"].min() > 5


def test_the_committee_is_a_part_of_the_bundle(make_committee: Make) -> None:
    campaign = make_committee()
    potential = publish_linear(campaign, 1)
    names = [f"potential_gen_01_committee_{number:02d}.yace" for number in (1, 2, 3)]
    assert [file.name for file in potential.members] == names
    assert set(names) < set(potential.record.files)
    assert campaign.published_generations() == [1]
    assert Potential.load(potential.path) == potential

    potential.members[1].write_text("changed")
    with pytest.raises(CorruptFileError, match=r"committee_02\.yace is missing or differs from the checksum"):
        Potential.load(potential.yace)
    potential.members[1].unlink()
    with pytest.raises(CorruptFileError, match=r"committee_02\.yace is missing"):
        Potential.load(potential.yace)


def test_a_bundle_of_before_there_were_committees_loads_and_says_that_it_has_none(make_committee: Make) -> None:
    potential = publish_linear(make_committee(), 1)
    content = json.loads(potential.path.read_text())
    del content["committee"]
    potential.path.write_text(json.dumps(content))
    older = Potential.load(potential.path)
    assert older.members == ()
    with pytest.raises(InputError, match=r"has no committee; set committee: \{members: 5\} in campaign.yaml"):
        older.committee_calculator()


def test_a_crash_while_publishing_leaves_no_member(make_committee: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_committee()
    with monkeypatch.context() as crashing:
        crashing.setattr(PotentialRecord, "model_dump_json", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish_linear(campaign, 1)
    assert member_file(campaign.bundle_record(1), 3).exists()
    with campaign.hold():
        assert list(campaign.potentials.iterdir()) == []
    assert len(publish_linear(campaign, 1).members) == 3


def test_the_members_of_a_rejected_bundle_are_kept_with_it(make_committee: Make) -> None:
    campaign = make_committee()
    plan = planned(campaign, 1)
    fit, closed, members = finish_linear(plan), close_fit(plan), solve_members(plan)
    grade_potential(plan)
    evaluation = evaluate_fit(plan)
    formed = form_committee(plan, closed.reference, members)
    verdict = Verdict(accepted=False, reasons=("this is the reason",))
    rejected = record_of(plan, fit, closed, evaluation, (), verdict, formed)
    before = publish(campaign, plan.run, rejected)

    accepted = record_of(plan, fit, closed, evaluation, (), Verdict(accepted=True))
    again = publish(campaign, plan.run, accepted)

    assert again.members == ()
    assert not list(campaign.potentials.glob("*committee*"))
    kept = Potential.load(plan.run.rejected_bundle(1) / before.path.name)
    assert [file.name for file in kept.members] == [file.name for file in before.members]


def test_a_crash_while_a_rejected_bundle_is_replaced_loses_nothing(rejected: Campaign, tmp_path: Path) -> None:
    old = Potential.of(rejected, 2).record
    new = old.model_copy(update={"verdict": Verdict(accepted=True)})
    for step in range(70):
        copy = copied(rejected, tmp_path / str(step))
        run = copy.generation(2)
        crash_at(step, partial(publish, copy, run, new))
        with copy.hold():
            is_there = copy.bundle_record(2).exists()
            assert is_there is any(copy.potentials.glob("*gen_02*"))  # no part of a bundle
            bundles = [*run.root.glob("rejected_*/*.json"), *copy.potentials.glob("*gen_02.json")]
            assert old in [Potential.load(file).record for file in bundles]
            is_accepted = is_there and PotentialRecord.load(copy.bundle_record(2)).accepted
            assert copy.current_generation() == (2 if is_accepted else 1)


def test_a_crash_while_a_rejected_bundle_is_put_aside_leaves_nothing_of_it(
    rejected: Campaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_at_yace(path: Path, missing_ok: bool = False) -> None:
        if path.name == "potential_gen_02.yace":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    unlink = Path.unlink
    edit(rejected, gate={"max_regression": 0.2})
    with monkeypatch.context() as killed, contextlib.suppress(KeyboardInterrupt):
        killed.setattr(Path, "unlink", interrupt_at_yace)
        add(rejected, write_batch(6, 12))
    with rejected.hold():
        assert {file.stem for file in rejected.potentials.iterdir()} == {"potential_gen_01", "current"}
    kept = rejected.generation(2).rejected_bundle(1)
    assert Potential.load(kept / "potential_gen_02.json").record.verdict == BAD
    assert accumulate(rejected, [write_batch(6, 12)]).generation == 2


def test_every_rejected_attempt_is_kept(rejected: Campaign, write_batch: WriteBatch) -> None:
    for attempt, share in enumerate((0.2, 0.3), 1):
        edit(rejected, gate={"max_regression": share})
        add(rejected, write_batch(6, 12), BAD)
        assert (rejected.generation(2).rejected_bundle(attempt) / "potential_gen_02.yace").exists()
    assert rejected.current_generation() == 1
