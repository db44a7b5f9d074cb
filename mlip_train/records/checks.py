"""What a check of a potential found, with the curves that show it."""

from typing import Any, Literal

from pydantic import model_validator

from mlip_train.base.frozen import Frozen

__all__ = ["Check", "Curve", "Panel", "Span"]


class Curve(Frozen):
    """One line of a plot."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Literal["line", "dashed", "points"] = "line"


class Span(Frozen):
    """A stretch of the x axis; a single place where `begin` is `end`."""

    label: str
    begin: float
    end: float


class Panel(Frozen):
    """One plot: curves over a common axis."""

    title: str
    x_label: str  # with its unit
    y_label: str  # with its unit
    curves: tuple[Curve, ...]
    spans: tuple[Span, ...] = ()
    scale: Literal["linear", "energy"] = "linear"  # energy: linear near zero, logarithmic far from it


class Check(Frozen):
    """One thing that a potential must or should get right."""

    name: str
    passed: bool | None  # None: there was nothing to check it on, or with
    finding: str  # in a sentence; where it failed, also what to do
    numbers: dict[str, float] = {}  # named with their units, such as drift_meV_per_atom_per_ps
    notes: tuple[str, ...] = ()  # what a person should know beside
    panels: tuple[Panel, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        """Versions before 0.2 wrote the finding under another name."""
        is_earlier = isinstance(values, dict) and "told" in values
        return {("finding" if key == "told" else key): values[key] for key in values} if is_earlier else values

    @property
    def word(self) -> str:
        """`passed`, `failed` or `not checked`."""
        return {True: "passed", False: "failed", None: "not checked"}[self.passed]
