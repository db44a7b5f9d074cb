"""B-basis projections of structures: what the linear start is solved from and the active set chosen by.

One atom's energy is a function of the densities ρ = Σ c B, linear in them for the first density. `B`, a
row per atom, depends on the surroundings and the radial functions only, not on the coefficients c.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.evaluators import CompiledEvaluator, EngineEvaluator, Evaluator, Predicted, lacking
from mlip_train.ace.library import ACEBBasisSet
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray

__all__ = ["BBasisFile", "Design", "Projector"]


@dataclass(frozen=True)
class Design:
    """What each B-basis function contributes to a structure's energy, forces and strain derivatives.

    With coefficients c of the first density, E = energy @ c + fixed.energy, and so on, where the fixed part
    comes from the other densities.
    """

    energy: FloatArray  # (functions,), eV per unit coefficient, total
    forces: FloatArray  # (3 n, functions), eV/Å per unit coefficient
    virial: FloatArray  # (6, functions), dE/dε in eV per unit coefficient, Voigt: stress times volume
    fixed: Predicted


class Projector:
    """Projects structures on the functions of a B-basis file.

    Functions are numbered element after element, as `ACEBBasisSet.basis_coeffs` holds them.
    """

    def __init__(self, bbasis: Path) -> None:
        basis = ACEBBasisSet(load_bbasis(bbasis))
        self._engine = EngineEvaluator(basis)
        self.lacking = lacking(basis)  # why the engine's evaluator is needed, which is much slower
        self._evaluator: Evaluator = CompiledEvaluator(basis) if self.lacking is None else self._engine
        self._linear = None if self.lacking or _has_more_densities(basis) else np.array(basis.basis_coeffs)
        self._has_fixed_part = self.lacking is not None or any(basis.basis_coeffs)
        self.elements: tuple[str, ...] = tuple(map(str, basis.elements_name))
        counts = [len(one) + len(more) for one, more in zip(basis.basis_rank1, basis.basis, strict=True)]
        self.n_functions: dict[str, int] = dict(zip(self.elements, counts, strict=True))

    def project(self, structure: Structure) -> dict[str, FloatArray]:
        """Rows per element, in the order of the atoms: (atoms of the element, its functions)."""
        return dict(zip(self.elements, self._evaluator.projections(structure), strict=True))

    def design(self, structure: Structure) -> Design:
        """Contributions of all functions to the structure's energy, forces and strain derivatives."""
        rows = self._evaluator.rows(structure)
        if self._has_fixed_part:
            fixed = self._engine.predict(structure)
        else:
            fixed = Predicted(0.0, np.zeros(len(rows.forces)), np.zeros(len(rows.virial)))
        return Design(rows.energy, rows.forces, rows.virial, fixed)

    def energy(self, structure: Structure) -> float:
        """Energy (eV) by the B-basis itself, all densities included."""
        if self._linear is None:
            return self._engine.predict(structure).energy
        rows = self._evaluator.projections(structure)
        return float(np.concatenate([of_species.sum(axis=0) for of_species in rows]) @ self._linear)


def _has_more_densities(basis: Any) -> bool:
    """Whether an atom's energy is more than its first density."""
    embeddings = basis.map_embedding_specifications.values()
    return any(list(embedding.FS_parameters) != [1.0, 1.0] for embedding in embeddings)


@dataclass(frozen=True)
class BBasisFile:
    """A B-basis file to project on; what it holds is known by when it was written."""

    path: Path
    written: int  # ns

    @classmethod
    def of(cls, path: Path) -> BBasisFile:
        """Name a B-basis as it is now."""
        return cls(path, path.stat().st_mtime_ns)

    def make(self) -> Projector:
        """Load the projector of this file."""
        return Projector(self.path)
