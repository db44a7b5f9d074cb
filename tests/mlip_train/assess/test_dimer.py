"""What curves of two approaching atoms mean for a potential."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlip_train.assess.dimer import check_dimer
from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.fit.closing import ClosedPotential
from mlip_train.fit.pair_curves import ALONE, PairCurve
from mlip_train.records.checks import Check
from mlip_train.records.reference import SettledReference

PICTURE = Path("gen_01/check_dimer.png")
CORE = SettledReference(kind="zbl", mode="core", switches={"Si-Si": SwitchRadii(inner=0.5, outer=1.0)})
DELTA = SettledReference(kind="zbl", mode="delta")
LJ = SettledReference(kind="lj", mode="delta")
NONE = SettledReference()
AMONG = "a.extxyz frame 1"

R = np.arange(0.4, 2.001, 0.02)
REPULSIVE = 20 / R
WITH_A_HOLE = REPULSIVE - 40 * np.exp(-(((R - 0.8) / 0.2) ** 2))  # and a barrier before it
OPEN = -20 / R  # atoms at the edge fall in by themselves


def curve(energies: Any, where: str = AMONG, pair: str = "Si-Si") -> PairCurve:
    return PairCurve(pair=pair, where=where, distances=tuple(R), energies=tuple(energies), edge=2.0)


def judged(reference: SettledReference, *curves: PairCurve, notes: tuple[str, ...] = ()) -> Check:
    return check_dimer(ClosedPotential(reference=reference, curves=curves, notes=notes), PICTURE)


@pytest.mark.parametrize("reference", [CORE, DELTA, LJ, NONE], ids=["core", "delta", "lj", "none"])
def test_plain_repulsion_passes(reference: SettledReference) -> None:
    check = judged(reference, curve(REPULSIVE, ALONE), curve(REPULSIVE), notes=("a note",))
    assert check.passed
    assert check.finding == "No atoms fall into each other: Si-Si"
    assert check.numbers == {"well_eV_Si-Si": 0.0}
    assert check.notes == ("a note",)


@pytest.mark.parametrize(
    ("reference", "remedy"),
    [
        (CORE, "set other radii in reference.pairs, or take mode: delta"),
        (DELTA, "set other radii in reference.pairs, or take reference: none"),
        (LJ, "set other sigma and epsilon in reference.pairs, or take reference: none"),
    ],
    ids=["core", "delta", "lj"],
)
def test_a_hole_beside_a_reference_potential_fails(reference: SettledReference, remedy: str) -> None:
    check = judged(reference, curve(REPULSIVE, ALONE), curve(WITH_A_HOLE))
    assert check.passed is False
    assert check.numbers["well_eV_Si-Si"] > 5
    assert check.finding.startswith("Si and Si in a.extxyz frame 1 fall into each other, ")
    assert f"See {PICTURE}. Add structures in which these atoms are closer, {remedy}, and run" in check.finding


def test_without_a_reference_potential_a_hole_behind_a_barrier_is_told_but_not_judged() -> None:
    check = judged(NONE, curve(REPULSIVE, ALONE), curve(WITH_A_HOLE))
    assert check.passed is None
    assert check.finding.startswith("Not judged without a reference potential: Si and Si in a.extxyz")


def test_a_hole_that_begins_in_the_data_fails_always() -> None:
    check = judged(NONE, curve(REPULSIVE, ALONE), curve(OPEN))
    assert check.passed is False
    assert "Nothing holds them back where the data end" in check.finding
    assert "set reference: zbl" in check.finding
    assert str(PICTURE) in check.finding


def test_what_two_free_atoms_do_is_not_in_the_data() -> None:
    assert judged(NONE, curve(OPEN, ALONE)).passed is None
    assert judged(CORE, curve(OPEN, ALONE)).passed is False


def test_one_pair_with_a_hole_fails_all() -> None:
    curves = [curve(REPULSIVE, pair="Al-Al"), curve(WITH_A_HOLE, pair="Al-Ni"), curve(REPULSIVE, pair="Ni-Ni")]
    check = judged(DELTA, *curves)
    assert check.passed is False
    assert "Al and Ni" in check.finding
    assert "Al and Al" not in check.finding
    assert list(check.numbers) == ["well_eV_Al-Al", "well_eV_Al-Ni", "well_eV_Ni-Ni"]


def test_a_panel_has_both_curves_of_its_pair_and_the_switch() -> None:
    alone = PairCurve(pair="Si-Si", where=ALONE, distances=(1.0, 2.0), energies=(5e4, 0.0), edge=1.5)
    among = PairCurve(pair="Si-Si", where=AMONG, distances=(1.0, 1.5), energies=(-90.0, -99.0), edge=1.5)
    other = PairCurve(pair="Al-Si", where=ALONE, distances=(1.0, 2.0), energies=(1.0, 0.0), edge=1.2)
    first, second = judged(CORE, alone, among, other).panels
    assert (first.title, first.scale, second.title) == ("Si-Si", "energy", "Al-Si")
    assert [(line.label, line.style, line.y) for line in first.curves] == [
        ("two atoms alone", "line", (5e4, 0.0)),
        ("among others", "dashed", (25009.0, 25000.0)),
    ]
    assert [(span.label, span.begin, span.end) for span in first.spans] == [
        ("switch", 0.5, 1.0), ("end of the data", 1.5, 1.5),
    ]  # fmt: skip
    assert [line.label for line in second.curves] == ["two atoms alone"]
    assert [span.label for span in second.spans] == ["end of the data"]
