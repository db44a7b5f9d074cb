"""The file that LAMMPS includes to run a potential."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

from ase.data import atomic_numbers

from mlip_train.priors import LennardJonesPotential, PairPotential, ZBLPotential, pair_name

__all__ = ["lammps_include"]

_TEMPLATE = """\
# {stem}: an ACE potential for {named}, published by mlip-train.
#
# Include this file after the simulation box has been created, in units metal; atom {types}.
# Its files are looked for in the working directory, or where the variable `potentials` says:
#
#     variable  potentials index /where/they/are     # or: lmp -var potentials /where/they/are
#     include   ${{potentials}}/{stem}.lmp
#
# With `variable grades index yes` before (or lmp -var grades yes) it runs the slower pair style that grades the
# extrapolation of each atom, too: f_grade is at most about 1 where the potential was trained.

variable      potentials index .
variable      grades index no

if "${{grades}} == yes" then &
  "pair_style {graded_style}" &
  "pair_coeff * * {graded} '${{potentials}}/{stem}.yaml' '${{potentials}}/{stem}.asi' {elements}" &
  "fix grade all pair 10 pace/extrapolation gamma 1" &
else &
  "pair_style {style}" &
  "pair_coeff * * {plain} '${{potentials}}/{stem}.yace' {elements}"
"""


def lammps_include(stem: str, elements: Sequence[str], baseline: PairPotential | None) -> str:
    """LAMMPS commands that set up a potential with its baseline, with and without extrapolation grades.

    Parameters
    ----------
    stem : str
        Name of the potential's files without their suffix.
    elements : sequence of str
        The element of each atom type, in order.
    baseline : PairPotential or None
        What was subtracted from the labels.
    """
    styles, coefficients = _baseline_lines(elements, baseline)
    # a single style is not named again in its coefficients
    around = "hybrid/overlay {} " + " ".join(styles) if styles else "{}"
    text = _TEMPLATE.format(
        stem=stem,
        named=", ".join(elements),
        types=", ".join(f"type {number} is {element}" for number, element in enumerate(elements, 1)),
        elements=" ".join(elements),
        style=around.format("pace").strip(),
        graded_style=around.format("pace/extrapolation").strip(),
        plain="pace" if styles else "",
        graded="pace/extrapolation" if styles else "",
    ).replace("* *  '", "* * '")
    return text + "".join(f"{line}\n" for line in coefficients)


def _baseline_lines(elements: Sequence[str], baseline: PairPotential | None) -> tuple[list[str], list[str]]:
    """Pair styles to overlay, and the commands that follow."""
    pairs = [
        (first + 1, second + 1, pair_name(elements[first], elements[second]))
        for first, second in combinations_with_replacement(range(len(elements)), 2)
    ]
    if isinstance(baseline, ZBLPotential):
        return _zbl_lines(pairs, baseline)
    if isinstance(baseline, LennardJonesPotential):
        lines = ["pair_modify   pair lj/cut shift yes"]
        for first, second, pair in pairs:
            parameters = baseline.parameters[pair]
            lines.append(f"pair_coeff    {first} {second} lj/cut {parameters.epsilon!r} {parameters.sigma!r}")
        return [f"lj/cut {baseline.r_cut!r}"], lines
    return [], []


def _zbl_lines(pairs: Sequence[tuple[int, int, str]], zbl: ZBLPotential) -> tuple[list[str], list[str]]:
    """The radii of LAMMPS' zbl are those of a whole style: one style for each that occur."""
    radii = list(dict.fromkeys((zbl.radii[pair].inner, zbl.radii[pair].outer) for _, _, pair in pairs))
    lines = []
    for first, second, pair in pairs:
        number = f" {radii.index((zbl.radii[pair].inner, zbl.radii[pair].outer)) + 1}" if len(radii) > 1 else ""
        one, other = (atomic_numbers[element] for element in pair.split("-"))
        lines.append(f"pair_coeff    {first} {second} zbl{number} {one} {other}")
    return [f"zbl {inner!r} {outer!r}" for inner, outer in radii], lines
