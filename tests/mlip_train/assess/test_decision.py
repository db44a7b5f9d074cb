"""What becomes of potentials that were accepted or rejected, by the gate or by a person."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mlip_train.assess.decision import check_accepted, decide
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import InputError, RejectedPotentialError
from mlip_train.potential.potential import Potential
from mlip_train.records.potential import PotentialRecord
from tests.mlip_train.planning import edit
from tests.mlip_train.rejection import BAD, add, copied, crash_at, decision

WriteBatch = Callable[[int, int], Path]


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


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


def test_a_first_potential_that_is_rejected_leaves_none(solving: Campaign, write_batch: WriteBatch) -> None:
    potential = add(solving, write_batch(0, 6), BAD)
    assert Potential.current(solving) is None
    with solving.hold():
        assert not solving.current_pointer.exists()
    with pytest.raises(RejectedPotentialError, match="There is no accepted potential yet"):
        check_accepted(solving, potential)


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
            accepted = [g for g in (1, 2) if PotentialRecord.load(copy.bundle_record(g)).accepted]
            assert copy.current_generation() == accepted[-1]


def test_a_lost_pointer_leads_to_the_newest_accepted_one(rejected: Campaign) -> None:
    rejected.current_pointer.unlink()
    with rejected.hold():
        assert rejected.current_generation() == 1


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
