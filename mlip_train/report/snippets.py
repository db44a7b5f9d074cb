"""Lines to copy that use a potential where it lies."""

from mlip_train.potential.potential import Potential

__all__ = ["ase_lines", "lammps_lines"]


def ase_lines(potential: Potential) -> str | None:
    """Python that attaches the potential to an `atoms` and gets a DFT total out of it; None if no ASE can."""
    if potential.asi.name in potential.record.files:
        return _GRADING.format(json=str(potential.path))
    if potential.baseline is None:
        energies = {element: round(energy, 6) for element, energy in potential.record.reference_energies.items()}
        return _PLAIN.format(yace=str(potential.yace), energies=energies)
    return None


def lammps_lines(potential: Potential) -> str | None:
    """Commands for an input script; None where the bundle lacks what LAMMPS would include."""
    elements = " ".join(potential.record.elements)
    types = ", ".join(f"type {number} is {element}" for number, element in enumerate(potential.record.elements, 1))
    if potential.lmp.name in potential.record.files:
        return _INCLUDE.format(types=types, folder=potential.path.parent, lmp=potential.lmp)
    if potential.baseline is None:
        return _PAIR.format(types=types, yace=potential.yace, elements=elements)
    return None


_GRADING = """\
from mlip_train import Potential

potential = Potential.load({json!r})
atoms.calc = potential.calculator()
energy = atoms.get_potential_energy()       # eV, relative to the reference energies
forces = atoms.get_forces()                 # eV/Å
gamma = atoms.calc.results["gamma"].max()   # extrapolation grade: about 1 at most where it was trained

# as DFT gives it, in eV:
total = energy + sum(potential.record.reference_energies[symbol] for symbol in atoms.symbols)
"""

_PLAIN = """\
from pyace import PyACECalculator

atoms.calc = PyACECalculator({yace!r})
energy = atoms.get_potential_energy()       # eV, relative to the reference energies
forces = atoms.get_forces()                 # eV/Å

# as DFT gives it, in eV:
reference_energies = {energies}
total = energy + sum(reference_energies[symbol] for symbol in atoms.symbols)
"""

_INCLUDE = """\
units       metal
# ... create the box and its atoms; {types} ...
variable    potentials index "{folder}"
include     "{lmp}"
# for grades per atom (slower), before the include: variable grades index yes; then f_grade
"""

_PAIR = """\
units       metal
# ... create the box and its atoms; {types} ...
pair_style  pace
pair_coeff  * * "{yace}" {elements}
"""
