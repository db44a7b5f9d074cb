"""Errors of a potential beside those of its parent, measure by measure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from mlip_train.records.errors import MEASURES, Errors, Measure, SplitErrors

__all__ = ["Compared", "Group", "compare", "groups"]


class Compared(NamedTuple):
    """A measure of errors, now and before."""

    measure: Measure
    now: float | None
    before: float | None

    @property
    def change(self) -> str | None:
        """The change in percent of what the error was."""
        if self.now is None or not self.before:
            return None
        percent = 100 * (self.now - self.before) / self.before
        shown = f"{percent:+.0f}" if abs(percent) >= 9.95 else f"{percent:+.1f}"
        return "0.0 %" if shown in ("+0.0", "-0.0") else f"{shown.replace('-', '−')} %"


class Group(NamedTuple):
    """Structures of one config type, or atoms of one element."""

    name: str
    size: int
    compared: list[Compared]


_BY_CONFIG_TYPE: Final = tuple(MEASURES[name] for name in ("energy_rmse", "force_rmse", "stress_rmse"))
_BY_ELEMENT: Final = tuple(MEASURES[name] for name in ("force_rmse", "force_mae", "force_max"))


def compare(now: Any, before: Any, measures: Iterable[Measure] = MEASURES.values()) -> list[Compared]:
    """Put measures of two Errors or ElementErrors side by side; either may be None."""
    return [
        Compared(measure, getattr(now, measure.name, None), getattr(before, measure.name, None))
        for measure in measures
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
    measures = _BY_CONFIG_TYPE if of == "config type" else _BY_ELEMENT
    mine, theirs = {**_parts(now, of), **_parts(common, of)}, _parts(before, of)
    rows = [
        Group(name, _size(errors), compare(errors, theirs.get(name), measures)) for name, errors in mine.items()
    ]
    return sorted(rows, key=lambda row: -mine[row.name].force_rmse)


def _parts(errors: SplitErrors | None, of: str) -> Mapping[str, Any]:
    if errors is None:
        return {}
    return errors.by_config_type if of == "config type" else errors.by_element


def _size(errors: Any) -> int:
    return int(errors.n_structures if isinstance(errors, Errors) else errors.n_atoms)
