from __future__ import annotations

from typing import Any

import pytest

from tests.mlip_train.config.parsing import parse, refusal


@pytest.mark.parametrize(("order", "ceiling"), enumerate([0, 10, 6, 4, 3, 2], start=1))
def test_lmax_stays_below_what_the_engine_has_couplings_for(order: int, ceiling: int) -> None:
    def basis(largest: int) -> dict[str, Any]:
        return {"nradmax_by_orders": [1] * order, "lmax_by_orders": [0] * (order - 1) + [largest]}

    assert parse(basis=basis(ceiling)).basis.lmax_by_orders[-1] == ceiling
    message = refusal(basis=basis(ceiling + 1))
    assert f"l = {ceiling + 1} at order {order}; the engine allows {ceiling}" in message


def test_nradmax_and_lmax_have_one_entry_per_order() -> None:
    message = refusal(basis={"nradmax_by_orders": [5, 4], "lmax_by_orders": [0, 1, 1]})
    assert "nradmax_by_orders has 2 entries and lmax_by_orders 3" in message


@pytest.mark.parametrize("orders", [0, 7])
def test_there_are_one_to_six_orders(orders: int) -> None:
    message = refusal(basis={"nradmax_by_orders": [1] * orders, "lmax_by_orders": [0] * orders})
    assert "basis.nradmax_by_orders" in message
    assert "basis.lmax_by_orders" in message
