"""Training a rejected generation again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train.assess.decision import decide
from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.accumulation import accumulate
from mlip_train.intake.awaiting import awaiting_training
from mlip_train.potential.potential import Potential
from mlip_train.records.checks import Check
from tests.mlip_train.planning import edit
from tests.mlip_train.rejection import BAD, add, decision

WriteBatch = Callable[[int, int], Path]


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


def test_an_accepted_generation_is_not_trained_again(rejected: Campaign) -> None:
    decide(rejected, 2, decision(True))
    edit(rejected, gate={"max_regression": 0.2})
    assert awaiting_training(rejected) is None


def test_a_rejected_generation_is_trained_again_when_its_parent_is_no_longer_current(rejected: Campaign) -> None:
    decide(rejected, 1, decision(False))
    assert awaiting_training(rejected) == 2


def test_a_generation_whose_files_were_broken_is_made_again(
    solving: Campaign, write_batch: WriteBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Check(name="consistency", passed=False, finding="it was changed afterwards")
    with monkeypatch.context() as patch:
        patch.setattr("tests.mlip_train.planning.check_fit", lambda *args: [broken])
        assert not add(solving, write_batch(0, 6)).record.accepted
    assert add(solving, write_batch(0, 6)).record.accepted
