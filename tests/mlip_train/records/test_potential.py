from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import CorruptFileError
from mlip_train.potential.potential import Potential
from mlip_train.records.potential import PotentialRecord


def test_bundles_of_before_there_was_a_gate_are_accepted(rejected: Campaign) -> None:
    record = rejected.bundle_record(1)
    content = json.loads(record.read_text())
    for key in ("verdict", "decisions", "checks"):
        del content[key]
    record.write_text(json.dumps(content))
    assert PotentialRecord.load(record).accepted
    assert Potential.of(rejected, 1).record.accepted


@pytest.mark.parametrize("content", ["", "[]", '{"verdict": 3}'])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    record = tmp_path / "potential_gen_01.json"
    record.write_text(content)
    with pytest.raises(CorruptFileError, match=r"potential_gen_01\.json is not the record"):
        PotentialRecord.load(record)
