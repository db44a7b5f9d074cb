"""From a fitted potential to the one that is deployed: closed at short distance, and looked at there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mlip_train.campaign import Campaign
from mlip_train.config import CampaignConfig
from mlip_train.deployed import deployed_calculator
from mlip_train.dimers import DimerCurve, dimer_curves
from mlip_train.distances import closest_approaches
from mlip_train.errors import RejectedPotentialError
from mlip_train.files import copy_atomically
from mlip_train.model import FrozenModel
from mlip_train.pacemaker.bbasis import export_yace
from mlip_train.pacemaker.inner_cutoff import Closing, close
from mlip_train.planning import FitPlan
from mlip_train.priors import SwitchRadii
from mlip_train.reference import ZBL, NoReference, SettledReference

__all__ = ["Deployment", "check_dimers", "deploy_fit"]

_WIDTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # of a switch, as shares of its outer radius
_MARGIN: Final = 0.01  # Å, so that not even the splines of the exported file feel the switch
_SMOOTH: Final = 1.0  # eV/Å; of two switches whose force jumps less than this, the narrower one


class Deployment(FrozenModel):
    """What was made of a fitted potential."""

    reference: SettledReference
    dimers: dict[str, DimerCurve]
    notes: tuple[str, ...] = ()  # what a person should know

    @property
    def holes(self) -> tuple[str, ...]:
        """Where atoms can fall into each other, in sentences."""
        return tuple(hole for curve in self.dimers.values() if (hole := curve.hole()) is not None)


def deploy_fit(plan: FitPlan) -> Deployment:
    """Close a fitted potential at short distance, export it, and compute its dimer curves.

    Below the shortest distance in the dataset the reference potential takes over; how far below, is decided
    by the smoothest dimer curve. What the curves tell is judged by `check_dimers`.
    """
    run, config = plan.run, plan.config
    stored = Campaign(plan.campaign).store.iterate()
    shortest = closest_approaches((row.structure for row in stored), config.elements)
    settled, notes = _settle(plan, shortest)
    if settled.kind == "none":
        copy_atomically(run.fitted_potential, run.deployed_potential)
    else:
        close(run.fitted_potential, run.deployed_potential, _closing(config), settled.switches)
    export_yace(run.deployed_potential, run.exported_potential)
    calculator = deployed_calculator(run.exported_potential, plan.baseline)
    curves = dimer_curves(calculator, config.elements, config.basis.cutoff, shortest)
    if settled.kind == "none":
        notes.append(_unprotected(curves))
    else:
        notes += [cliff for curve in curves.values() if (cliff := curve.cliff()) is not None]
    return Deployment(reference=settled, dimers=curves, notes=tuple(notes))


def check_dimers(plan: FitPlan, deployment: Deployment) -> None:
    """Refuse a potential in which atoms can fall into each other although there is a reference potential.

    Raises
    ------
    RejectedPotentialError
        Naming the pairs and the distances.
    """
    if deployment.holes and deployment.reference.kind != "none":
        raise RejectedPotentialError(
            f"generation {plan.generation} was trained, but not published: {'; '.join(deployment.holes)}. See "
            f"{plan.run.dimer_curves}. Add structures with shorter distances, or set other radii in "
            "reference.pairs, and run the same command again"
        )


def _settle(plan: FitPlan, shortest: Mapping[str, float]) -> tuple[SettledReference, list[str]]:
    """All numbers of the configured reference potential, and what a person should know of them."""
    reference = plan.config.reference
    if isinstance(reference, NoReference):
        return SettledReference(), []
    limits = {pair: r - _MARGIN for pair, r in shortest.items()}
    given = reference.pairs if isinstance(reference, ZBL) and reference.mode == "core" else {}
    fixed = {pair: _lowered(radii, limits[pair]) for pair, radii in given.items()}
    notes = [
        f"reference.pairs.{pair}: outer {given[pair].outer:g} Å is above the shortest distance in the data; "
        f"{radii.outer:.3f} Å is used"
        for pair, radii in fixed.items()
        if radii.outer < given[pair].outer
    ]
    switches = _smoothest(plan, limits, fixed)
    settled = SettledReference(kind=reference.kind, mode=reference.mode, baseline=plan.baseline, switches=switches)
    return settled, notes


def _lowered(radii: SwitchRadii, limit: float) -> SwitchRadii:
    """The same radii where they are below a limit (Å), else scaled down to it."""
    share = min(1.0, limit / radii.outer)
    return SwitchRadii(inner=share * radii.inner, outer=share * radii.outer)


def _smoothest(
    plan: FitPlan, outer: Mapping[str, float], fixed: Mapping[str, SwitchRadii]
) -> dict[str, SwitchRadii]:
    """Per pair, the switch with the smoothest dimer curve, of those that end at the outer radii (Å)."""
    best: dict[str, tuple[tuple[bool, float], SwitchRadii]] = {}
    with tempfile.TemporaryDirectory(dir=plan.run.root, prefix=".switch-") as folder:
        closed = Path(folder) / "closed.yaml"
        for width in _WIDTHS:
            switches = {pair: SwitchRadii(inner=(1 - width) * r, outer=r) for pair, r in outer.items()}
            switches |= fixed
            close(plan.run.fitted_potential, closed, _closing(plan.config), switches)
            calculator = deployed_calculator(closed, plan.baseline)
            for pair, curve in dimer_curves(calculator, plan.config.elements, max(outer.values()), outer).items():
                cost = curve.hole() is not None, max(curve.jump.by, _SMOOTH)
                if pair not in best or cost < best[pair][0]:
                    best[pair] = cost, switches[pair]
    return {pair: switch for pair, (_, switch) in best.items()}


def _closing(config: CampaignConfig) -> Closing:
    is_core = isinstance(config.reference, ZBL) and config.reference.mode == "core"
    return "zbl" if is_core else "distance"


def _unprotected(curves: Mapping[str, DimerCurve]) -> str:
    nearest = ", ".join(f"{pair} {curve.shortest:.2f} Å" for pair, curve in curves.items())
    return (
        f"There is no reference potential: below the shortest distances in the data ({nearest}) the potential is "
        "a guess, and atoms may fall into each other. Set reference: {kind: zbl}"
    )
