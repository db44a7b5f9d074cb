"""Errors of a potential beside those of its parent, quantity by quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from mlip_train.evaluation import Errors, SplitErrors

__all__ = ["BY_CONFIG_TYPE", "BY_ELEMENT", "OVERALL", "Compared", "Group", "Quantity", "compare", "groups"]


class Quantity(NamedTuple):
    """One way to say how large errors are."""

    field: str  # of Errors or ElementErrors
    name: str
    unit: str


class Compared(NamedTuple):
    """One quantity, now and before."""

    quantity: Quantity
    now: float | None
    before: float | None

    @property
    def change(self) -> str | None:
        """In percent of what it was."""
        if self.now is None or not self.before:
            return None
        percent = 100 * (self.now - self.before) / self.before
        told = f"{percent:+.0f}" if abs(percent) >= 9.95 else f"{percent:+.1f}"
        return "0.0 %" if told in ("+0.0", "-0.0") else f"{told.replace('-', '−')} %"


class Group(NamedTuple):
    """Structures of one config type, or atoms of one element."""

    name: str
    size: int
    compared: list[Compared]


_ENERGY: Final = "meV/atom"
_FORCE: Final = "meV/Å"
OVERALL: Final = (
    Quantity("energy_rmse", "Energy, RMSE", _ENERGY),
    Quantity("energy_mae", "Energy, MAE", _ENERGY),
    Quantity("energy_max", "Energy, largest", _ENERGY),
    Quantity("force_rmse", "Force component, RMSE", _FORCE),
    Quantity("force_mae", "Force component, MAE", _FORCE),
    Quantity("force_max", "Force component, largest", _FORCE),
    Quantity("force_vector_rmse", "Force vector, RMSE", _FORCE),
    Quantity("stress_rmse", "Stress component, RMSE", "GPa"),
    Quantity("stress_mae", "Stress component, MAE", "GPa"),
    Quantity("stress_max", "Stress component, largest", "GPa"),
)
BY_CONFIG_TYPE: Final = (
    Quantity("energy_rmse", "Energy RMSE", _ENERGY),
    Quantity("force_rmse", "Force RMSE", _FORCE),
    Quantity("stress_rmse", "Stress RMSE", "GPa"),
)
BY_ELEMENT: Final = (
    Quantity("force_rmse", "Force RMSE", _FORCE),
    Quantity("force_mae", "Force MAE", _FORCE),
    Quantity("force_max", "Largest force error", _FORCE),
)


def compare(now: Any, before: Any, quantities: Sequence[Quantity]) -> list[Compared]:
    """Measures of two Errors or ElementErrors, either of which may be None."""
    return [
        Compared(quantity, getattr(now, quantity.field, None), getattr(before, quantity.field, None))
        for quantity in quantities
    ]


def groups(
    now: SplitErrors, before: SplitErrors | None = None, common: SplitErrors | None = None, *, of: str
) -> list[Group]:
    """Errors per config type or element, the largest force errors first.

    Parameters
    ----------
    now, before : SplitErrors
        Of a potential, and of its parent.
    common : SplitErrors, optional
        Of the potential on the structures that `before` is about, where those are fewer: what is compared.
    of : str
        `config type` or `element`.
    """
    quantities = BY_CONFIG_TYPE if of == "config type" else BY_ELEMENT
    mine, theirs = {**_parts(now, of), **_parts(common, of)}, _parts(before, of)
    rows = [
        Group(name, _size(errors), compare(errors, theirs.get(name), quantities)) for name, errors in mine.items()
    ]
    return sorted(rows, key=lambda row: -mine[row.name].force_rmse)


def _parts(errors: SplitErrors | None, of: str) -> Mapping[str, Any]:
    if errors is None:
        return {}
    return errors.by_config_type if of == "config type" else errors.by_element


def _size(errors: Any) -> int:
    return int(errors.n_structures if isinstance(errors, Errors) else errors.n_atoms)
