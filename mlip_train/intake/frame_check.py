"""The checks that a frame passes to become a stored structure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlip_train.atoms.neighbours import nearest_neighbour_distances
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.frozen import Frozen
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.records.refusal import Refusal

__all__ = ["FrameRules", "IsolatedAtom", "check_frame", "columns_of", "frame_rules"]

UNSPECIFIED = "unspecified"
_LARGEST_ENERGY = 1e6  # eV per atom; all-electron uranium has 0.8e6
_LARGEST_WEIGHT = 1e6  # as in campaign.yaml
_LARGEST_LENGTH = 1e4  # Å
_LARGEST_VOLUME = 1e9  # Å³
_SMALLEST_HEIGHT = 0.3  # Å, between opposite faces of a cell


class FrameRules(Frozen):
    """What a frame must satisfy to enter a campaign."""

    elements: tuple[str, ...] | None  # None: any
    cutoff: float  # Å; an atom without a neighbour inside makes the engine drop the structure
    min_distance: float  # Å
    max_force: float  # eV/Å
    use_isolated_atoms: bool  # as reference energies, not as structures
    weight: str | None = None  # the entry of `info` that holds a frame's weight
    atom_weights: str | None = None  # the entry of `arrays` that holds its atoms' weights


def frame_rules(config: CampaignConfig) -> FrameRules:
    """What a DFT result must satisfy to enter a campaign of this configuration."""
    return FrameRules(
        elements=config.elements,
        cutoff=config.basis.cutoff,
        min_distance=config.checks.min_distance,
        max_force=config.checks.max_force,
        use_isolated_atoms=config.reference_energies == "isolated_atoms",
        weight=config.weights.structure,
        atom_weights=config.weights.atom,
    )


@dataclass(frozen=True)
class IsolatedAtom:
    """A free atom in the data, whose energy (eV) may serve as its element's reference."""

    element: str
    energy: float
    source: str
    frame: int


def check_frame(
    atoms: Atoms, rules: FrameRules, source: str, frame: int, *, converged: bool | None = None
) -> Structure | IsolatedAtom | Refusal:
    """Turn one frame into a structure, or say why it cannot be learned from.

    Parameters
    ----------
    atoms : Atoms
        A frame with its results attached as a calculator.
    rules : FrameRules
        Limits to check against.
    source, frame : str, int
        Where the frame comes from, for messages and the dataset.
    converged : bool or None
        What the source says of the electronic convergence; None when it says nothing.
    """
    # Cheap checks first: later ones rely on finite geometry of the right shape.
    reason = _wrong_geometry(atoms, rules)
    if reason is None and converged is False:
        reason = "the DFT calculation did not converge; finish it, then add the file again"
    if reason is None:
        reason = _wrong_labels(atoms, rules)
    if reason is None:
        reason = _wrong_weights(atoms, rules)
    if reason is None and rules.use_isolated_atoms and _is_isolated(atoms, rules.cutoff):
        return IsolatedAtom(chemical_symbols[atoms.numbers[0]], _energy(_results(atoms)), source, frame)
    if reason is None:
        reason = _wrong_distances(atoms, rules)
    if reason is not None:
        return Refusal(source=source, frame=frame, reason=reason)
    results = _results(atoms)
    return Structure(
        numbers=atoms.numbers.astype(np.int32),
        positions=np.array(atoms.positions, dtype=float),
        cell=np.array(atoms.cell.array, dtype=float),
        pbc=np.array(atoms.pbc, dtype=bool),
        energy=_energy(results),
        forces=np.array(results["forces"], dtype=float),
        stress=_stress(results),
        config_type=_config_type(atoms),
        source=source,
        frame=frame,
        weight=float(_given_weight(atoms, rules)),
        atom_weights=_given_atom_weights(atoms, rules),
    )


def _is_isolated(atoms: Atoms, cutoff: float) -> bool:
    return len(atoms) == 1 and bool(np.isinf(nearest_neighbour_distances(atoms, cutoff)).all())


def _results(atoms: Atoms) -> dict[str, Any]:
    # Not atoms.get_forces(): that sets the forces on constrained atoms to zero.
    return dict(atoms.calc.results) if atoms.calc is not None else {}


def _energy(results: dict[str, Any]) -> float:
    """The force-consistent energy where the source distinguishes it."""
    given = results["energy"] if results.get("free_energy") is None else results["free_energy"]
    energy = np.asarray(given)
    if energy.size != 1 or not (
        np.issubdtype(energy.dtype, np.floating) or np.issubdtype(energy.dtype, np.integer)
    ):
        raise ValueError(f"its energy is {given!r}, which is not one number; correct it in the file")
    return float(energy.item())


def _stress(results: dict[str, Any]) -> FloatArray | None:
    if results.get("stress") is None:
        return None
    stress = np.asarray(results["stress"], dtype=float)
    if stress.shape == (3, 3):
        stress = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return stress


def _config_type(atoms: Atoms) -> str:
    config_type = str(atoms.info.get("config_type", columns_of(atoms).get("config_type", UNSPECIFIED)))
    return config_type.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be stored


def columns_of(atoms: Atoms) -> dict[str, Any]:
    """The columns of an ASE database that came with a frame."""
    columns = atoms.info.get("key_value_pairs")
    return columns if isinstance(columns, dict) else {}


def _wrong_geometry(atoms: Atoms, rules: FrameRules) -> str | None:
    if len(atoms) == 0:
        return "it contains no atoms; remove the frame"
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return "positions or cell are not finite numbers; correct or remove the frame"
    if atoms.pbc.any() and not atoms.pbc.all():
        directions = ", ".join(name for name, periodic in zip("abc", atoms.pbc, strict=True) if periodic)
        return (
            f"it is periodic along {directions} only; the engine takes fully periodic or fully open "
            "structures: set pbc to 'T T T' with vacuum in the cell"
        )
    if atoms.pbc.all() and abs(atoms.cell.volume) < 1e-3 * len(atoms):
        return f"its periodic cell has a volume of {abs(atoms.cell.volume):.3g} Å³; give three lattice vectors"
    if atoms.pbc.all() and (lengths := _odd_lengths(atoms)):
        return lengths
    if np.abs(atoms.positions).max() > _LARGEST_LENGTH:
        return f"an atom is {np.abs(atoms.positions).max():.3g} Å away from the origin; are the units Å?"
    if ((atoms.numbers < 1) | (atoms.numbers >= len(chemical_symbols))).any():
        return "it contains atoms of an unknown element; give chemical symbols or atomic numbers up to 118"
    symbols = {chemical_symbols[number] for number in atoms.numbers}
    if rules.elements is not None and (foreign := symbols - set(rules.elements)):
        return (
            f"it contains {', '.join(sorted(foreign))}, but the campaign's elements are "
            f"{', '.join(rules.elements)}"
        )
    return None


def _odd_lengths(atoms: Atoms) -> str | None:
    """Cells in which a search for neighbours would not end."""
    longest = float(atoms.cell.lengths().max())
    thinnest = float(abs(atoms.cell.volume) / max(atoms.cell.areas()))
    volume = float(abs(atoms.cell.volume))
    if longest > _LARGEST_LENGTH or thinnest < _SMALLEST_HEIGHT or volume > _LARGEST_VOLUME:
        return (
            f"its periodic cell is up to {longest:.3g} Å long, {thinnest:.3g} Å thin and has {volume:.3g} Å³; "
            f"expected at most {_LARGEST_LENGTH:g} Å, at least {_SMALLEST_HEIGHT:g} Å and at most "
            f"{_LARGEST_VOLUME:g} Å³. Give it in Å"
        )
    return None


def _wrong_labels(atoms: Atoms, rules: FrameRules) -> str | None:
    results = _results(atoms)
    for key in ("energy", "forces"):
        if results.get(key) is None:
            return f"it has no {key}{_similar_keys(atoms, key)}"
    try:
        energy = _energy(results)
    except ValueError as error:
        return str(error)
    if not np.isfinite(energy):
        return f"its energy is {energy}; finish the calculation or remove the frame"
    if abs(energy) > _LARGEST_ENERGY * len(atoms):
        return f"its energy of {energy:.3g} eV is beyond {_LARGEST_ENERGY:g} eV per atom; are the units eV?"
    try:
        forces = np.asarray(results["forces"], dtype=float)
        stress = _stress(results)
    except (TypeError, ValueError):
        return "its forces or stress are not plain numbers; correct them in the file"
    if forces.shape != (len(atoms), 3):
        return f"its forces have shape {forces.shape}; expected ({len(atoms)}, 3)"
    if not np.isfinite(forces).all():
        return f"the force on atom {int(np.argwhere(~np.isfinite(forces))[0][0])} is not finite; remove the frame"
    largest = np.linalg.norm(forces, axis=1)
    if largest.max() > rules.max_force:
        return (
            f"the force on atom {int(largest.argmax())} is {largest.max():.1f} eV/Å, above "
            f"checks.max_force = {rules.max_force:g}"
        )
    if stress is not None and stress.shape != (6,):
        return f"its stress has shape {stress.shape}; expected 6 Voigt components or a 3x3 tensor"
    if stress is not None and not np.isfinite(stress).all():
        return "its stress is not finite; correct or remove it"
    return None


def _given_weight(atoms: Atoms, rules: FrameRules) -> Any:
    return 1.0 if rules.weight is None else atoms.info.get(rules.weight, columns_of(atoms).get(rules.weight, 1.0))


def _given_atom_weights(atoms: Atoms, rules: FrameRules) -> FloatArray | None:
    given = None if rules.atom_weights is None else atoms.arrays.get(rules.atom_weights)
    return None if given is None else np.array(given, dtype=float)


def _wrong_weights(atoms: Atoms, rules: FrameRules) -> str | None:
    expected = f"expected 0 (leaves out) to {_LARGEST_WEIGHT:g}. Correct it, or name another entry under weights"
    try:
        weight, of_atoms = float(_given_weight(atoms, rules)), _given_atom_weights(atoms, rules)
    except (TypeError, ValueError):
        return f"its weight {rules.weight!r} or weights {rules.atom_weights!r} are not numbers; {expected}"
    if not 0 <= weight <= _LARGEST_WEIGHT:
        return f"its weight {rules.weight!r} is {weight:g}; {expected}"
    if of_atoms is None:
        return None
    if of_atoms.shape != (len(atoms),):
        return f"its weights {rules.atom_weights!r} have shape {of_atoms.shape}, not ({len(atoms)},); {expected}"
    wrong = np.flatnonzero(~((of_atoms >= 0) & (of_atoms <= _LARGEST_WEIGHT)))
    if len(wrong):
        return f"the weight of atom {wrong[0]} in {rules.atom_weights!r} is {of_atoms[wrong[0]]:g}; {expected}"
    return None


def _similar_keys(atoms: Atoms, key: str) -> str:
    stem = key.rstrip("s")
    found = sorted(str(k) for k in (*atoms.info, *atoms.arrays) if stem in str(k).lower())
    if found:
        return f" under the name {key!r}, only {', '.join(found)}; rename it to {key!r} in the file"
    return "; add the results of a finished DFT calculation, not only its geometry"


def _wrong_distances(atoms: Atoms, rules: FrameRules) -> str | None:
    nearest = nearest_neighbour_distances(atoms, rules.cutoff)
    closest = int(nearest.argmin())
    if nearest[closest] < rules.min_distance:
        return (
            f"atom {closest} is {nearest[closest]:.3f} Å from its neighbour, closer than "
            f"checks.min_distance = {rules.min_distance:g} Å"
        )
    if np.isinf(nearest).any():
        return (
            f"atom {int(np.isinf(nearest).argmax())} has no neighbour within the cutoff of {rules.cutoff:g} Å; "
            "the engine would drop the structure without a word. Remove it (isolated atoms count only "
            "with reference_energies: isolated_atoms)"
        )
    return None
