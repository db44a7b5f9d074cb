"""From a fitted potential to the one that MD runs: closed at short distance, exported, and looked at there."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mlip_train.ace.bbasis import export_yace
from mlip_train.ace.inner_cutoff import Closing, close_bbasis
from mlip_train.atoms.approaches import Approach, closest_approaches
from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.atoms.pairs import contact_distance
from mlip_train.base.files import copy_atomically
from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.reference import RARELY, ZBL, NoReference, Reference
from mlip_train.fit.pair_curves import PairCurve, decisive, pair_curves
from mlip_train.potential.calculator import calculator_of
from mlip_train.records.reference import SettledReference

__all__ = ["ClosedPotential", "close_and_export", "close_fit"]

Switches = Mapping[str, SwitchRadii]
Cost = tuple[bool, float, float]  # hole, jumps of the force (eV/Å)

_WIDTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # of a switch, as shares of its outer radius
_MARGIN: Final = 0.01  # Å, so that not even the splines of the exported file feel the switch
_SMOOTH: Final = 1.0  # eV/Å; of two switches whose force jumps less than this, the narrower one
_NO_COST: Final[Cost] = (False, _SMOOTH, _SMOOTH)


class ClosedPotential(Frozen):
    """What was made of a fitted potential."""

    reference: SettledReference
    curves: tuple[PairCurve, ...]
    notes: tuple[str, ...] = ()  # what a person should know


def close_fit(plan: FitPlan) -> ClosedPotential:
    """Close a fitted potential at short distance, export it, and compute what approaching atoms feel.

    Where the data end the reference potential takes over; how far below, is decided by the smoothest curves.
    What the curves show is judged by the check `dimer`.
    """
    run, config = plan.run, plan.config
    given = _given_radii(config)
    stored = (row.structure for row in Campaign(plan.campaign).store.iterate())
    approaches = closest_approaches(stored, config.elements, config.basis.cutoff)
    notes = []
    if isinstance(config.reference, NoReference):
        settled = SettledReference()
    else:
        fixed = {pair: _lowered(radii, approaches[pair]) for pair, radii in given.items()}
        notes += [_note_on_lowered(given[pair], fixed[pair], approaches[pair]) for pair in fixed]
        switches = _choose_switches(plan, approaches, fixed)
        settled = SettledReference(
            kind=config.reference.kind, mode=config.reference.mode, baseline=plan.baseline, switches=switches
        )
    close_and_export(run.fitted_potential, run, settled)
    calculator = calculator_of(run.exported_potential, plan.baseline)
    curves = pair_curves(calculator, approaches.values(), config.basis.cutoff)
    if settled.kind == "none":
        notes.append(_unprotected(approaches.values()))
    else:
        notes += _notes_on_unevenness(curves)
    return ClosedPotential(reference=settled, curves=tuple(curves), notes=tuple(filter(None, notes)))


def close_and_export(fitted: Path, run: GenerationDirectory, reference: SettledReference) -> None:
    """Write a fitted B-basis, closed at short distance, and that in the form for MD codes, into a run."""
    if reference.kind == "none":
        copy_atomically(fitted, run.closed_potential)
    else:
        close_bbasis(fitted, run.closed_potential, _closing(reference), reference.switches)
    export_yace(run.closed_potential, run.exported_potential)


def _given_radii(config: CampaignConfig) -> Switches:
    """Radii of the core that the user wants; those of a baseline say nothing of where ACE ends."""
    reference = config.reference
    return reference.pairs if isinstance(reference, ZBL) and reference.mode == "core" else {}


def _lowered(radii: SwitchRadii, approach: Approach) -> SwitchRadii:
    """Scale radii down where they are not below all data."""
    share = min(1.0, (approach.shortest - _MARGIN) / radii.outer)
    return SwitchRadii(inner=share * radii.inner, outer=share * radii.outer)


def _note_on_lowered(given: SwitchRadii, used: SwitchRadii, approach: Approach) -> str | None:
    if used.outer >= given.outer:
        return None
    return (
        f"reference.pairs.{approach.pair}: outer {given.outer:g} Å is not below the shortest distance in the data "
        f"({approach.shortest:.3f} Å); {used.outer:.3f} Å is used"
    )


def _choose_switches(plan: FitPlan, approaches: Mapping[str, Approach], fixed: Switches) -> Switches:
    """Per pair, where ACE hands over: where atoms hardly come, or if ACE fails there, as soon as the data end."""
    settled = dict(fixed)
    with tempfile.TemporaryDirectory() as folder:
        for limit in (RARELY, 1.0):
            outer = {
                pair: min(limit * contact_distance(pair), approach.edge - _MARGIN)
                for pair, approach in approaches.items()
                if pair not in settled
            }
            found = _smoothest(plan, approaches, outer, settled, Path(folder) / "closed.yaml")
            settled |= {pair: switch for pair, (cost, switch) in found.items() if limit == 1.0 or not cost[0]}
    return {pair: settled[pair] for pair in approaches}


def _smoothest(
    plan: FitPlan, approaches: Mapping[str, Approach], outer: Mapping[str, float], settled: Switches, closed: Path
) -> dict[str, tuple[Cost, SwitchRadii]]:
    """Per pair, of all switches that end at the outer radius (Å), the one with the smoothest curves."""
    best: dict[str, tuple[Cost, SwitchRadii]] = {}
    for width in _WIDTHS:
        open_pairs = [pair for pair in outer if pair not in best or best[pair][0] > _NO_COST]
        if not open_pairs:
            break
        switches = {pair: SwitchRadii(inner=(1 - width) * outer[pair], outer=outer[pair]) for pair in outer}
        close_bbasis(plan.run.fitted_potential, closed, _closing(plan.config.reference), {**settled, **switches})
        calculator = calculator_of(closed, plan.baseline)
        for pair in open_pairs:
            cost = _cost(pair_curves(calculator, [approaches[pair]], approaches[pair].edge))
            if pair not in best or cost < best[pair][0]:
                best[pair] = cost, switches[pair]
    return best


def _cost(curves: Sequence[PairCurve]) -> Cost:
    """Whether there is a hole, how much the force jumps in the curve that decides, and how much in the other."""
    (deciding,) = decisive(curves)
    return deciding.hole() is not None, max(_SMOOTH, deciding.jump.by), max(_SMOOTH, curves[0].jump.by)


def _notes_on_unevenness(curves: Sequence[PairCurve]) -> list[str]:
    deciding = decisive(curves)
    notes = [sentence for curve in deciding for sentence in curve.uneven()]
    others = [curve.pair for curve in curves if curve not in deciding and (curve.hole() or curve.uneven())]
    if others:
        notes.append(
            f"Alone, which the data do not know, two atoms are not plainly repulsive: {', '.join(others)}"
        )
    return notes


def _closing(reference: Reference | SettledReference) -> Closing:
    is_core = not isinstance(reference, NoReference) and reference.mode == "core"
    return "zbl" if is_core else "distance"


def _unprotected(approaches: Iterable[Approach]) -> str:
    edges = ", ".join(f"{approach.pair} {approach.edge:.2f} Å" for approach in approaches)
    return (
        f"There is no reference potential: nothing is known of atoms that are closer than {edges}, and they may "
        "fall into each other. Set reference: zbl"
    )
