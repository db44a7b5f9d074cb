"""No net force, and the same physics after a rotation or under other names of the atoms."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from mlip_train.assess.subject import Subject
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.records.checks import Check, Curve, Panel

__all__ = ["check", "check_symmetry"]

_STRUCTURES: Final = 5
_LARGEST: Final = 250  # atoms
_SHAKE: Final = 0.05  # Å; in a perfect crystal all forces are zero, and so are their deviations
_SEED: Final = 1
# The evaluator computes in double precision: for trained potentials of silicon and lithium all deviations are
# below 1e-12. What is to be caught is a mistake, which is larger by far.
_TOLERANCE: Final = 1e-6  # of forces in eV/Å and energies in eV/atom
_FLOOR: Final = 1e-16  # where a logarithm ends


class _Deviations(NamedTuple):
    """How far a structure is from what symmetry demands."""

    net_force: float  # eV/Å, largest component of the sum over atoms
    rotation_energy: float  # eV/atom
    rotation_force: float  # eV/Å, largest component
    permutation_energy: float  # eV/atom
    permutation_force: float  # eV/Å, largest component


_SENTENCES: Final = {
    "net_force": "the forces on its atoms add up to {:.2g} eV/Å",
    "rotation_energy": "a rotation changes its energy by {:.2g} eV/atom",
    "rotation_force": "a rotation changes its forces by {:.2g} eV/Å",
    "permutation_energy": "its energy depends on the order of the atoms, by {:.2g} eV/atom",
    "permutation_force": "its forces depend on the order of the atoms, by {:.2g} eV/Å",
}


def check(subject: Subject, rule: bool) -> Check:
    """Turn and shuffle test structures; see `check_symmetry`."""
    return check_symmetry(subject.calculator, subject.tried_on())


def check_symmetry(calculator: Any, structures: Iterable[Structure]) -> Check:
    """Compare structures, slightly shaken, with themselves after a rotation and after a permutation.

    Parameters
    ----------
    calculator : ASE calculator
        Of the file that MD codes run.
    structures : iterable of Structure
        Streamed until five kinds are found: config types, periodic or not.
    """
    chosen = _choose(structures)
    if not chosen:
        return Check(
            name="symmetry", passed=None, finding=f"There is no structure of up to {_LARGEST} atoms to look at"
        )
    random = np.random.default_rng(_SEED)
    found = [_deviations(calculator, structure, random) for structure in chosen]
    largest = {name: float(np.max([getattr(one, name) for one in found])) for name in _SENTENCES}
    numbers = {f"{name}_{'eV_per_atom' if 'energy' in name else 'eV_per_A'}": x for name, x in largest.items()}
    wrong = [sentence for pair in zip(chosen, found, strict=True) if (sentence := _reason_against(*pair))]
    if wrong:
        advice = "Do not run MD with it; train it again, and if that changes nothing, report this"
        finding = f"{'; '.join(wrong)}. {advice}"
    else:
        finding = (
            f"No net force, and the same energy and forces after a rotation and a permutation, to "
            f"{max(largest.values()):.1g} eV/Å, on {len(found)} structures"
        )
    finite = {name: value for name, value in numbers.items() if np.isfinite(value)}
    return Check(name="symmetry", passed=not wrong, finding=finding, numbers=finite, panels=(_panel(found),))


def _choose(structures: Iterable[Structure]) -> list[Structure]:
    """One of each kind, filled up with the first ones."""
    kinds: dict[tuple[str, bool], Structure] = {}
    first: list[Structure] = []
    for structure in structures:
        if len(structure.numbers) > _LARGEST:
            continue
        kind = (structure.config_type, bool(structure.pbc.all()))
        if kind not in kinds:
            kinds[kind] = structure
        elif len(first) < _STRUCTURES:
            first.append(structure)
        if len(kinds) == _STRUCTURES:
            break
    return [*kinds.values(), *first][:_STRUCTURES]


def _deviations(calculator: Any, structure: Structure, random: np.random.Generator) -> _Deviations:
    atoms = structure.to_atoms()
    atoms.positions += random.normal(scale=_SHAKE, size=atoms.positions.shape)
    energy, forces = _compute(calculator, atoms)
    turn = Rotation.random(random_state=random).as_matrix()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    turned_energy, turned_forces = _compute(calculator, turned)
    order = random.permutation(len(atoms))
    shuffled_energy, shuffled_forces = _compute(calculator, atoms[order])
    return _Deviations(
        net_force=float(np.abs(forces.sum(axis=0)).max()),
        rotation_energy=abs(turned_energy - energy) / len(atoms),
        rotation_force=float(np.abs(turned_forces - forces @ turn.T).max()),
        permutation_energy=abs(shuffled_energy - energy) / len(atoms),
        permutation_force=float(np.abs(shuffled_forces - forces[order]).max()),
    )


def _compute(calculator: Any, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy in eV and forces in eV/Å."""
    calculator.calculate(atoms)
    return float(calculator.results["energy"]), np.array(calculator.results["forces"])


def _reason_against(structure: Structure, found: _Deviations) -> str | None:
    # "not below" instead of "above", which numbers that are not finite would pass
    wrong = [
        sentence.format(x)
        for name, sentence in _SENTENCES.items()
        if not (x := getattr(found, name)) <= _TOLERANCE
    ]
    return f"{structure.source} frame {structure.frame}: {', '.join(wrong)}" if wrong else None


def _panel(found: list[_Deviations]) -> Panel:
    places = tuple(float(number) for number in range(1, len(found) + 1))
    names = {"net_force": "net force", "rotation_force": "rotation", "permutation_force": "permutation"}
    curves = [
        Curve(label=label, x=places, y=tuple(_logarithm(getattr(one, name)) for one in found), style="points")
        for name, label in names.items()
    ]
    limit = (_logarithm(_TOLERANCE),) * len(places)
    curves.append(Curve(label="tolerance", x=places, y=limit, style="dashed"))
    return Panel(
        title="Deviation of forces",
        x_label="structure",
        y_label="log₁₀ of the largest component (eV/Å)",
        curves=tuple(curves),
    )


def _logarithm(value: float) -> float:
    return float(np.log10(np.clip(np.nan_to_num(value, nan=np.inf), _FLOOR, 1 / _FLOOR)))
