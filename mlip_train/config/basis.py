"""The ACE basis: the section `basis` of campaign.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, Field, model_validator

from mlip_train.base.frozen import Frozen

__all__ = ["Basis", "Element", "PositiveFloat"]

# Largest l per correlation order that the engine's coupling table holds (order 2 and up).
_MAX_L_BY_ORDER = (0, 10, 6, 4, 3, 2)


def _known_element(symbol: str) -> str:
    if symbol == "X" or symbol not in atomic_numbers:
        meant = symbol.capitalize()
        hint = f"did you mean {meant!r}?" if meant in atomic_numbers else "write symbols such as 'Si' or 'Ni'"
        raise ValueError(f"{symbol!r} is not a chemical element; {hint}")
    return symbol


Element = Annotated[str, AfterValidator(_known_element)]

PositiveFloat = Annotated[float, Field(gt=0)]


class Basis(Frozen):
    """The ACE basis: how many functions describe the surroundings of an atom."""

    cutoff: float = Field(
        6.0, ge=2.0, le=15.0, description="Outer cutoff in Å: atoms further apart do not feel each other."
    )
    functions_per_element: int = Field(1000, ge=1, description="Largest number of B-basis functions per element.")
    embedding: Literal["linear", "finnis_sinclair"] = Field(
        "linear", description="How densities become an energy: linear E = ρ₁, or finnis_sinclair E = ρ₁ + √ρ₂."
    )
    radial_basis: Literal["SBessel", "ChebExpCos", "ChebPow"] = Field(
        "SBessel", description="Family of the radial functions."
    )
    radial_parameters: tuple[float, ...] = Field(
        (5.25,), min_length=1, description="Parameters of the radial family (λ, dimensionless)."
    )
    nradmax_by_orders: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (15, 6, 5, 3, 2, 1), min_length=1, max_length=6,
        description="Largest radial index n per correlation order 1, 2, 3, ... (order k is k+1 bodies).",
    )  # fmt: skip
    lmax_by_orders: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 6, 5, 3, 2, 1), min_length=1, max_length=6,
        description="Largest angular momentum l per correlation order; as long as nradmax_by_orders.",
    )  # fmt: skip
    ladder_step: int | None = Field(
        None, ge=1,
        description="Functions added per ladder step when a fit starts from zeros; null fits all at once.",
    )  # fmt: skip
    ladder_type: Literal["body_order", "power_order"] = Field(
        "body_order", description="The order in which a ladder adds functions."
    )

    @model_validator(mode="after")
    def _orders_fit(self) -> Basis:
        if len(self.nradmax_by_orders) != len(self.lmax_by_orders):
            raise ValueError(
                f"nradmax_by_orders has {len(self.nradmax_by_orders)} entries and lmax_by_orders "
                f"{len(self.lmax_by_orders)}; give one of each per correlation order"
            )
        for order, (largest, ceiling) in enumerate(zip(self.lmax_by_orders, _MAX_L_BY_ORDER, strict=False), 1):
            if largest > ceiling:
                raise ValueError(f"lmax_by_orders: l = {largest} at order {order}; the engine allows {ceiling}")
        return self
