"""Two atoms that approach each other do not fall into one another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mlip_train.assess.subject import Subject
from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.fit.closing import ClosedPotential
from mlip_train.fit.pair_curves import ALONE, PairCurve, decisive
from mlip_train.records.checks import Check, Curve, Panel, Span

__all__ = ["check", "check_dimer"]

_NO_BARRIER: Final = 0.05  # eV; room temperature shakes a bond by more


def check(subject: Subject, rule: bool) -> Check:
    """Judge the curves that were computed when the potential was closed; see `check_dimer`."""
    return check_dimer(subject.closed, subject.plan.run.check_picture("dimer"))


def check_dimer(closed: ClosedPotential, picture: Path) -> Check:
    """Judge the curves of a closed potential by their holes.

    Beside a reference potential, which should have closed it, every hole fails. Without one almost every
    potential has a hole somewhere below its data, so only that fails which atoms of the data themselves fall
    into: one with no barrier before it, so that it begins where the data are. Any other leaves the check
    undecided.

    Parameters
    ----------
    closed : ClosedPotential
        The curves, and where the reference potential takes over.
    picture : Path
        Where the panels will be drawn, for the message.
    """
    deciding = decisive(closed.curves)
    holes = [(curve, hole) for curve in deciding if (hole := curve.hole()) is not None]
    unprotected = closed.reference.kind == "none"
    open_holes = [hole for curve, hole in holes if not unprotected or _begins_in_the_data(curve)]
    passed = False if open_holes else None if holes else True
    if open_holes:
        finding = f"{'; '.join(open_holes)}. See {picture}. {_advice(closed)}"
    elif holes:
        finding = f"Not judged without a reference potential: {'; '.join(hole for _, hole in holes)}"
    else:
        finding = f"No atoms fall into each other: {', '.join(curve.pair for curve in deciding)}"
    return Check(
        name="dimer",
        passed=passed,
        finding=finding,
        numbers={f"well_eV_{curve.pair}": curve.well[0] for curve in deciding},
        notes=closed.notes,
        panels=tuple(_panels(closed.curves, closed.reference.switches)),
    )


def _begins_in_the_data(curve: PairCurve) -> bool:
    """Only atoms among others are in the data; what two free ones do, is not known at any distance."""
    return curve.where != ALONE and curve.barrier <= _NO_BARRIER


def _advice(closed: ClosedPotential) -> str:
    reference = closed.reference
    if reference.kind == "none":
        return (
            "Nothing holds them back where the data end. Add structures in which these atoms are closer, or set "
            "reference: zbl, and run the same command again"
        )
    numbers = "sigma and epsilon" if reference.kind == "lj" else "radii"
    other = "mode: delta" if reference.mode == "core" else "reference: none"
    return (
        f"Add structures in which these atoms are closer, set other {numbers} in reference.pairs, or take "
        f"{other}, and run the same command again"
    )


def _panels(curves: Sequence[PairCurve], switches: Mapping[str, SwitchRadii]) -> list[Panel]:
    """One of each pair.

    Curves of atoms among others, whose energy has another zero, are moved so that they end on that of the two
    atoms alone.
    """
    panels = []
    for alone in (curve for curve in curves if curve.where == ALONE):
        among = [curve for curve in curves if curve.pair == alone.pair and curve.where != ALONE]
        switch = switches.get(alone.pair)
        spans = [Span(label="switch", begin=switch.inner, end=switch.outer)] if switch else []
        panels.append(
            Panel(
                title=alone.pair,
                x_label="distance (Å)",
                y_label="energy (eV)",
                curves=(_curve("two atoms alone", alone), *(_moved(curve, alone) for curve in among)),
                spans=(*spans, Span(label="end of the data", begin=alone.edge, end=alone.edge)),
                scale="energy",
            )
        )
    return panels


def _curve(label: str, curve: PairCurve) -> Curve:
    return Curve(label=label, x=curve.distances, y=curve.energies)


def _moved(curve: PairCurve, alone: PairCurve) -> Curve:
    shift = np.interp(curve.distances[-1], alone.distances, alone.energies) - curve.energies[-1]
    moved = tuple((np.array(curve.energies) + shift).tolist())
    return Curve(label="among others", x=curve.distances, y=moved, style="dashed")
