from __future__ import annotations

from typing import Any

import pytest

from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.config.reference import baseline_of
from mlip_train.records.reference import SettledReference
from tests.mlip_train.config.parsing import parse

PAIRS = {"Al-Al": {"epsilon": 0.1, "sigma": 2.5}, "Ni-Ni": {"epsilon": 0.4, "sigma": 2.1}}


@pytest.mark.parametrize(
    "reference",
    [{"kind": "zbl", "mode": "delta"}, {"kind": "lj", "cutoff": 6.1, "mixing": "geometric", "pairs": PAIRS}],
    ids=["zbl", "lj"],
)
def test_numbers_survive_being_written_down(reference: dict[str, Any]) -> None:
    config = parse(elements=["Al", "Ni"], reference=reference)
    settled = SettledReference(
        kind=reference["kind"],
        mode="delta",
        baseline=baseline_of(config.reference, config.elements),
        switches={"Al-Ni": SwitchRadii(inner=1 / 3, outer=2.0)},
    )
    assert SettledReference.model_validate_json(settled.model_dump_json()) == settled
