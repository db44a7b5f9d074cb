"""What a check of a potential found, with the curves that show it."""

from __future__ import annotations

from typing import Literal

from mlip_train.model import FrozenModel

__all__ = ["Check", "CheckName", "Curve", "Panel", "Span"]

CheckName = Literal["consistency", "dimer", "volume", "nve", "symmetry"]


class Curve(FrozenModel):
    """One line of a plot."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Literal["line", "dashed", "points"] = "line"


class Span(FrozenModel):
    """A stretch of the x axis; a single place where `begin` is `end`."""

    label: str
    begin: float
    end: float


class Panel(FrozenModel):
    """One plot: curves over a common axis."""

    title: str
    x_label: str  # with its unit
    y_label: str  # with its unit
    curves: tuple[Curve, ...]
    spans: tuple[Span, ...] = ()
    scale: Literal["linear", "energy"] = "linear"  # energy: linear near zero, logarithmic far from it


class Check(FrozenModel):
    """One thing that a potential must or should get right."""

    name: CheckName
    passed: bool | None  # None: there was nothing to check it on, or with
    told: str  # what was found, in a sentence; where it failed, also what to do
    numbers: dict[str, float] = {}  # named with their units, such as drift_meV_per_atom_per_ps
    notes: tuple[str, ...] = ()  # what a person should know beside
    panels: tuple[Panel, ...] = ()

    @property
    def word(self) -> str:
        """`passed`, `failed` or `not checked`."""
        return {True: "passed", False: "failed", None: "not checked"}[self.passed]
