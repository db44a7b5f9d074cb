"""The example's active-learning loop on the real engine, as small as it still learns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from examples import oracle_loop as example
from mlip_train import Potential

SMALL = """\
elements: [Cu]
basis: {cutoff: 4.5, functions_per_element: 20, nradmax_by_orders: [5, 3, 2], lmax_by_orders: [0, 2, 1]}
fit: {max_epochs: 3}
reference: {kind: zbl, mode: core}
gate: {on: []}
"""


@pytest.mark.usefixtures("real_engine")
@pytest.mark.usefixtures("prefect_server")
def test_the_same_exploration_meets_less_and_less_that_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "CONFIG", SMALL)
    monkeypatch.setattr(example, "STEPS", 100)
    generations = example.oracle_loop(tmp_path / "copper")

    assert [Potential.load(done.potential).generation for done in generations] == [1, 2, 3]
    assert all(done.n_new > 0 for done in generations)
    gamma = [done.largest_gamma for done in generations]
    assert all(later < earlier for earlier, later in pairwise(gamma)), gamma
    assert gamma[-1] < gamma[0] / 5, gamma
