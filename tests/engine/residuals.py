"""Errors and loss of a potential, computed here and not by the library."""

from __future__ import annotations

import numpy as np

from mlip_train import Potential
from mlip_train.ace.library import PyACECalculator
from mlip_train.atoms.structure import Structure


def residuals(potential: Potential, structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Energy errors (eV/atom) and force errors (eV/Å)."""
    calculator = PyACECalculator(str(potential.yaml))
    energies, forces = [], []
    for structure in structures:
        atoms = structure.to_atoms()
        atoms.calc = calculator
        shift = sum(potential.record.reference_energies[symbol] for symbol in structure.symbols)
        energies.append((atoms.get_potential_energy() + shift - structure.energy) / len(atoms))
        forces.append(atoms.get_forces() - structure.forces)
    return np.array(energies), np.concatenate(forces)


def loss(potential: Potential, structures: list[Structure], kappa: float) -> float:
    """The loss as the engine defines it, with uniform weights and without regularisation."""
    energies, forces = residuals(potential, structures)
    return float((1 - kappa) * np.mean(energies**2) + kappa * np.mean(np.sum(forces**2, axis=1)))
