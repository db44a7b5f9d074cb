"""What becomes of potentials that were accepted or rejected, by the gate or by a person."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlip_train.acceptance import awaiting_training, check_accepted, decide
from mlip_train.accumulation import accumulate
from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.errors import CorruptFileError, InputError, RejectedPotentialError
from mlip_train.gate import Decision, Verdict, read_standing
from mlip_train.potential import Potential, publish
from tests.mlip_train.planning import edit, publish_linear

BAD = Verdict(accepted=False, reasons=("the force RMSE is too large",))
WriteBatch = Callable[[int, int], Path]


def decision(accepted: bool, why: str = "") -> Decision:
    return Decision(accepted=accepted, by="me@here", when=datetime.now(UTC), why=why)


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def campaign(make_campaign: Callable[..., Campaign]) -> Campaign:
    return make_campaign(fit={"max_epochs": 0})


def add(campaign: Campaign, batch: Path, verdict: Verdict | None = None) -> Potential:
    """Train a generation, which the gate lets pass or not."""
    generation = accumulate(campaign, [batch]).generation
    assert generation is not None
    with pytest.MonkeyPatch.context() as patch:
        if verdict:
            patch.setattr("mlip_train.generation.judge", lambda *args: verdict)
        return publish_linear(campaign, generation)


def crash_at(step: int, act: Callable[[], object]) -> None:
    """Let a process die at a step that changes the file system: nothing happens any more."""
    calls = count()

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **keys: Any) -> Any:
            if next(calls) >= step:
                raise KeyboardInterrupt
            return real(*args, **keys)

        return change

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "copyfile")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        act()


def copied(campaign: Campaign, root: Path) -> Campaign:
    shutil.copytree(campaign.root, root)
    return Campaign(root)


@pytest.fixture
def rejected(campaign: Campaign, write_batch: WriteBatch) -> Campaign:
    """A campaign whose second generation was rejected."""
    add(campaign, write_batch(0, 6))
    add(campaign, write_batch(6, 12), BAD)
    return campaign


# --- the gate ---


def test_a_rejected_potential_is_kept_and_does_not_become_current(rejected: Campaign) -> None:
    assert rejected.published_generations() == [1, 2]
    assert rejected.current_generation() == 1
    potential = Potential.of(rejected, 2)
    assert not potential.record.accepted
    assert potential.record.state == "rejected"
    with pytest.raises(RejectedPotentialError) as told:
        check_accepted(rejected, potential)
    assert str(told.value).startswith(
        "generation 2 was trained and is kept, but rejected: the force RMSE is too large. Generation 1 stays "
    )
    assert f"mlip-train accept {rejected.root} 2" in str(told.value)
    check_accepted(rejected, Potential.of(rejected, 1))


def test_a_first_potential_that_is_rejected_leaves_none(campaign: Campaign, write_batch: WriteBatch) -> None:
    potential = add(campaign, write_batch(0, 6), BAD)
    assert Potential.current(campaign) is None
    with campaign.hold():
        assert not campaign.current_pointer.exists()
    with pytest.raises(RejectedPotentialError, match="There is no accepted potential yet"):
        check_accepted(campaign, potential)


def test_the_next_generation_continues_the_accepted_one(rejected: Campaign, write_batch: WriteBatch) -> None:
    third = add(rejected, write_batch(12, 18))
    assert third.record.errors.parent == 1
    assert third.record.lineage.start.generation == 1
    assert third.record.lineage.parent_sha256 == Potential.of(rejected, 1).record.files["potential_gen_01.yaml"]
    assert rejected.current_generation() == 3


# --- people ---


def test_a_person_accepts_what_the_gate_rejected(rejected: Campaign) -> None:
    potential = decide(rejected, 2, decision(True, "the test set is wrong"))
    assert potential.record.accepted
    assert potential.record.state == "accepted by me@here"
    assert potential.record.decisions[0].why == "the test set is wrong"
    assert potential.record.verdict == BAD  # what the gate said stays
    assert rejected.current_generation() == 2
    check_accepted(rejected, potential)


def test_a_person_rejects_what_is_current(rejected: Campaign) -> None:
    decide(rejected, 2, decision(True))
    decide(rejected, 2, decision(False, "melts"))
    assert rejected.current_generation() == 1
    decide(rejected, 1, decision(False))
    assert Potential.current(rejected) is None
    assert [d.accepted for d in Potential.of(rejected, 2).record.decisions] == [True, False]


def test_what_is_not_the_newest_is_accepted_without_becoming_current(
    rejected: Campaign, write_batch: WriteBatch
) -> None:
    add(rejected, write_batch(12, 18))
    decide(rejected, 2, decision(True))
    assert rejected.current_generation() == 3


@pytest.mark.parametrize(("generation", "accepted"), [(1, True), (2, False)])
def test_what_stands_already_is_not_decided_again(rejected: Campaign, generation: int, accepted: bool) -> None:
    before = rejected.bundle_record(generation).read_bytes()
    with pytest.raises(
        InputError, match=f"generation {generation} is {'accepted' if accepted else 'rejected'} alr"
    ):
        decide(rejected, generation, decision(accepted))
    assert rejected.bundle_record(generation).read_bytes() == before


def test_a_generation_without_a_potential_cannot_be_decided(rejected: Campaign) -> None:
    with pytest.raises(InputError, match="no potential of generation 7; there are: 1, 2"):
        decide(rejected, 7, decision(True))


def test_a_crash_after_a_decision_is_mended(rejected: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed, contextlib.suppress(KeyboardInterrupt):
        killed.setattr(Campaign, "_move_current", interrupt)
        decide(rejected, 2, decision(True))
    assert rejected.current_generation() == 1
    with rejected.hold():
        assert rejected.current_generation() == 2


def test_a_rejected_current_potential_gives_way_in_one_step(
    rejected: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(rejected, 2, decision(True))
    with monkeypatch.context() as killed, contextlib.suppress(KeyboardInterrupt):
        killed.setattr(Campaign, "_point_at", interrupt)
        decide(rejected, 2, decision(False))
    assert rejected.current_generation() == 2  # and not none, from which a fit would start anew
    with rejected.hold():
        assert rejected.current_generation() == 1


def test_a_lost_pointer_is_found_again_whatever_a_crash_left(rejected: Campaign) -> None:
    with contextlib.suppress(KeyboardInterrupt), rejected.moving_current(2):
        raise KeyboardInterrupt
    rejected.current_pointer.unlink()
    with rejected.hold():
        assert rejected.current_generation() == 1


def test_a_crash_at_any_moment_of_a_rejection_leaves_the_newest_accepted_one(
    rejected: Campaign, tmp_path: Path
) -> None:
    decide(rejected, 2, decision(True))
    for step in range(20):
        copy = copied(rejected, tmp_path / str(step))
        crash_at(step, partial(decide, copy, 2, decision(False)))
        assert copy.current_generation() in (1, 2)  # for whoever looks without holding the campaign
        with copy.hold():
            accepted = [g for g in (1, 2) if read_standing(copy.bundle_record(g)).accepted]
            assert copy.current_generation() == accepted[-1]


def test_a_lost_pointer_leads_to_the_newest_accepted_one(rejected: Campaign) -> None:
    rejected.current_pointer.unlink()
    with rejected.hold():
        assert rejected.current_generation() == 1


def test_bundles_of_before_there_was_a_gate_are_accepted(rejected: Campaign) -> None:
    record = rejected.bundle_record(1)
    content = json.loads(record.read_text())
    for key in ("verdict", "decisions", "checks"):
        del content[key]
    record.write_text(json.dumps(content))
    assert read_standing(record).accepted
    assert Potential.of(rejected, 1).record.accepted


@pytest.mark.parametrize("content", ["", "[]", '{"verdict": 3}'])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    record = tmp_path / "potential_gen_01.json"
    record.write_text(content)
    with pytest.raises(CorruptFileError, match=r"potential_gen_01\.json is not the record"):
        read_standing(record)


# --- training a rejected generation again ---


def test_nothing_is_trained_again_while_nothing_has_changed(rejected: Campaign) -> None:
    assert awaiting_training(rejected) is None


def test_a_rejected_generation_is_trained_again_when_the_configuration_changed(
    rejected: Campaign, write_batch: WriteBatch
) -> None:
    old = rejected.bundle_record(2).read_bytes()
    edit(rejected, gate={"max_regression": 0.2})
    assert accumulate(rejected, [write_batch(6, 12)]).generation == 2
    again = add(rejected, write_batch(6, 12))
    assert again.record.accepted
    assert rejected.current_generation() == 2
    kept = rejected.generation(2).rejected_bundle(1)
    assert (kept / "potential_gen_02.json").read_bytes() == old
    assert Potential.load(kept / "potential_gen_02.json").record.verdict == BAD  # with all its files


def test_what_a_person_rejected_is_not_accepted_because_it_is_judged_again(
    rejected: Campaign, write_batch: WriteBatch
) -> None:
    decide(rejected, 2, decision(True))
    decide(rejected, 2, decision(False, "melts"))
    edit(rejected, gate={"max_regression": 0.2})
    same = add(rejected, write_batch(6, 12))
    assert same.record.verdict.accepted
    assert same.record.decisions[-1].why == "melts"
    assert rejected.current_generation() == 1
    with pytest.raises(RejectedPotentialError, match=r"is kept, but rejected by me@here\. Generation 1"):
        check_accepted(rejected, same)
    edit(rejected, loss_weights={"energy": 0.5, "force": 0.5})
    assert add(rejected, write_batch(6, 12)).record.decisions == ()  # another potential


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
            is_accepted = is_there and read_standing(copy.bundle_record(2)).accepted
            assert copy.current_generation() == (2 if is_accepted else 1)


def test_an_accepted_generation_is_not_trained_again(rejected: Campaign) -> None:
    decide(rejected, 2, decision(True))
    edit(rejected, gate={"max_regression": 0.2})
    assert awaiting_training(rejected) is None


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


def test_a_rejected_generation_is_trained_again_when_its_parent_is_no_longer_current(rejected: Campaign) -> None:
    decide(rejected, 1, decision(False))
    assert awaiting_training(rejected) == 2


def test_a_generation_whose_files_were_broken_is_made_again(
    campaign: Campaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Check(name="consistency", passed=False, told="it was changed afterwards")
    with monkeypatch.context() as patch:
        patch.setattr("tests.mlip_train.planning.check_fit", lambda *args: [broken])
        assert not add(campaign, write_batch(0, 6)).record.accepted
    assert add(campaign, write_batch(0, 6)).record.accepted
