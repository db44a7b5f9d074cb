from __future__ import annotations

import pytest

from mlip_train.atoms.pairs import contact_distance


def test_the_contact_distance_is_that_of_the_radii() -> None:
    assert contact_distance("Al-Ni") == pytest.approx(1.21 + 1.24)


@pytest.mark.parametrize("pair", ["Fm-Fm", "Pa-Pa", "Cm-Cm"])
def test_an_element_of_unknown_size_is_as_large_as_curium(pair: str) -> None:
    assert contact_distance(pair) == pytest.approx(2 * 1.69)
