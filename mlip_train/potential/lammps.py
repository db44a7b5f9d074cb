"""The file that LAMMPS includes to run a potential."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

from ase.data import atomic_numbers

from mlip_train.atoms.pair_potentials import LennardJonesPotential, PairPotential, SwitchRadii, ZBLPotential
from mlip_train.atoms.pairs import pair_name

__all__ = ["lammps_include"]

_TEMPLATE = """\
# {stem}: an ACE potential for {named}, published by mlip-train.
#
# Include this file after the simulation box has been created, in units metal; atom {types}.
# Its files are looked for in the working directory, or where the variable `potentials` says (no quotes in it):
#
#     variable  potentials index /where/they/are     # or: lmp -var potentials /where/they/are
#     include   ${{potentials}}/{stem}.lmp
#
# With `variable grades index yes` before (or lmp -var grades yes) it runs the slower pair style that grades the
# extrapolation of each atom, too: f_grade is at most about 1 where the potential was trained.
{warning}
variable      potentials index .
variable      grades index no
variable      quote index "'"

# LAMMPS puts no variable into what is quoted, so the quotes come as one
if "${{grades}} == yes" then &
  "pair_style {overlay}pace/extrapolation{styles}" &
  "pair_coeff * * {graded}${{quote}}${{potentials}}/{stem}.yaml${{quote}} &
${{quote}}${{potentials}}/{stem}.asi${{quote}} {elements}" &
  "fix grade all pair 10 pace/extrapolation gamma 1" &
else &
  "pair_style {overlay}pace{styles}" &
  "pair_coeff * * {plain}${{quote}}${{potentials}}/{stem}.yace${{quote}} {elements}"
"""

_BLIND = """\
# Where two atoms are closer than {edges}, ACE fades out beside the baseline, and f_grade says
# nothing of them.
"""


def lammps_include(
    stem: str, elements: Sequence[str], baseline: PairPotential | None, switches: Mapping[str, SwitchRadii]
) -> str:
    """LAMMPS commands that set up a potential with its baseline, with and without extrapolation grades.

    Parameters
    ----------
    stem : str
        Name of the potential's files without their suffix.
    elements : sequence of str
        The element of each atom type, in order.
    baseline : PairPotential or None
        What was subtracted from the labels.
    switches : mapping of pair to SwitchRadii
        Where ACE hands over, per pair of elements.
    """
    styles, coefficients = _baseline_lines(elements, baseline)
    # in an overlay a style is named again in its coefficients
    text = _TEMPLATE.format(
        stem=stem,
        named=", ".join(elements),
        types=", ".join(f"type {number} is {element}" for number, element in enumerate(elements, 1)),
        warning=_BLIND.format(edges=_edges(switches)) if baseline else "",
        elements=" ".join(elements),
        overlay="hybrid/overlay " if styles else "",
        styles="".join(f" {style}" for style in styles),
        plain="pace " if styles else "",
        graded="pace/extrapolation " if styles else "",
    )
    return text + "".join(f"{line}\n" for line in coefficients)


def _edges(switches: Mapping[str, SwitchRadii]) -> str:
    return ", ".join(f"{radii.outer:.2f} Angstrom ({pair})" for pair, radii in switches.items())


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
