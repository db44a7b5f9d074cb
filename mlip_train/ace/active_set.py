"""Active sets: the atoms whose projections span what a potential knows, chosen by maxvol.

For each element, as many rows (atoms) as functions are chosen so that the volume |det A| is the largest
that swapping one row can reach (D-optimality; Lysogorskiy et al., Phys. Rev. Mater. 7, 043801, 2023).
The extrapolation grade of an atom with projections b is γ = max |b A⁻¹|: at most 1 inside.

Rows are offered as they come and only the active ones are kept, so memory does not grow with their
number. The set begins with tiny artificial rows, one per function; whatever real row is there replaces
one. Those that are left at the end stand for directions that no atom has: too few atoms of an
element, or structures that are all alike.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dger

from mlip_train.ace.library import maxvol
from mlip_train.base.arrays import FloatArray
from mlip_train.base.files import atomic_path
from mlip_train.errors import CorruptFileError

__all__ = ["ActiveSet"]

# Sizes of an artificial row relative to a typical projection: while choosing, below every real difference
# and above rounding; in a published set, so that a hundredth of a typical projection in a direction
# that no training atom has is a grade of 10.
_WHILE_CHOOSING: Final = 1e-9
_PUBLISHED: Final = 1e-3
_SMALLEST: Final = 1e-7  # typical size of a function relative to that of the largest
_MOST_SWAPS: Final = 20  # per function, in one update
_ROUGHLY: Final = 1.1  # the tolerance for many new rows that are offered again: others may be better still
_NEARLY: Final = 0.8  # a row with a grade above this may be worth having later
_RESERVE: Final = 2  # rows kept for that, per function


@dataclass
class _Rows:
    """The active rows of one element, in units of a typical projection."""

    scale: FloatArray  # (functions,)
    matrix: FloatArray  # (functions, functions)
    members: list[str]  # structure ids; "" for an artificial row
    inverse: FloatArray
    # Rows that were nearly chosen: swapping one row in makes others worth having that were not before.
    reserve: FloatArray  # (at most _RESERVE times functions, functions)
    reserve_members: list[str]

    def offer(self, rows: FloatArray, members: Sequence[str], tolerance: float, *, again: bool) -> float:
        """Take in the rows that enlarge the volume; return the largest grade before that."""
        scaled = rows / self.scale
        grades = np.abs(scaled @ self.inverse).max(axis=1)
        kept = np.flatnonzero(grades > _NEARLY)
        if len(kept):
            candidates = np.vstack([self.matrix, self.reserve, scaled[kept]])
            names = [*self.members, *self.reserve_members, *(members[i] for i in kept)]
            roughly = again and len(kept) > len(self.scale)
            tolerance = max(tolerance, _ROUGHLY) if roughly else tolerance
            if (worst := float(grades.max())) > tolerance:
                self._choose(candidates, names, tolerance, roughly=roughly)
            else:
                n = len(self.scale)
                self._keep_in_reserve(candidates[n:], names[n:])
        else:
            worst = float(grades.max())
        return worst

    def _choose(self, candidates: FloatArray, names: list[str], tolerance: float, *, roughly: bool) -> None:
        choices = []
        is_filled, n = not self.is_artificial.any(), len(self.scale)
        if is_filled:  # from artificial rows, swapping one at a time would take long
            choices.append(_swap(candidates, self.inverse, tolerance))
        if not is_filled or roughly:
            # The engine's maxvol begins from nothing; while all is new it may end in a better place than swaps.
            choices.append(maxvol(candidates, tol=tolerance, max_iters=_MOST_SWAPS * n)[0])
        chosen = max(choices, key=lambda rows: float(np.linalg.slogdet(candidates[rows])[1]))
        self.matrix = np.ascontiguousarray(candidates[chosen])
        self.members = [names[i] for i in chosen]
        self.inverse = np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        others = np.setdiff1d(np.arange(len(candidates)), chosen)
        self._keep_in_reserve(candidates[others], [names[i] for i in others])

    def _keep_in_reserve(self, rows: FloatArray, names: list[str]) -> None:
        grades = np.abs(rows @ self.inverse).max(axis=1, initial=0.0)
        real = np.array([bool(name) for name in names], dtype=bool)
        best = np.argsort(np.where(real, -grades, np.inf), kind="stable")[: _RESERVE * len(self.scale)]
        best = best[real[best] & (grades[best] > _NEARLY)]
        self.reserve, self.reserve_members = rows[best], [names[i] for i in best]

    @property
    def is_artificial(self) -> NDArray[np.bool_]:
        return np.array([not member for member in self.members])

    def log_volume(self) -> float:
        return float(np.linalg.slogdet(self.matrix)[1] + np.log(self.scale).sum())

    def published_inverse(self) -> FloatArray:
        matrix = self.matrix.copy()
        matrix[self.is_artificial] *= _PUBLISHED / _WHILE_CHOOSING
        inverse: FloatArray = np.linalg.inv(matrix) / self.scale[:, None]
        return inverse


class ActiveSet:
    """The active rows of every element of a potential.

    Parameters
    ----------
    n_functions : mapping of element to int
        How many functions each element has.
    tolerance : float
        A row is taken in when its grade is above this (at least 1).
    """

    def __init__(self, n_functions: Mapping[str, int], tolerance: float) -> None:
        self.n_functions = dict(n_functions)
        self.tolerance = tolerance
        self.covers = 0  # newest generation up to which every training structure was offered
        self._elements: dict[str, _Rows] = {}

    def offer(
        self, rows: Mapping[str, FloatArray], members: Mapping[str, Sequence[str]], *, again: bool = False
    ) -> dict[str, float]:
        """Take in rows (atoms, functions) per element, each with the structure it comes from.

        Rows that will be offered again need not be looked at so closely now.

        Returns
        -------
        dict of element to float
            The largest grade among the offered rows before they were taken in.
        """
        grades = {}
        for element, offered in rows.items():
            if len(offered):
                known = self._elements.get(element)
                if known is None:
                    known = self._elements[element] = _artificial(offered)
                grades[element] = known.offer(offered, members[element], self.tolerance, again=again)
        return grades

    def grader(self) -> Callable[[Mapping[str, FloatArray]], dict[str, FloatArray]]:
        """Return a function that grades rows (atoms, functions) by the set as it is now.

        The grade of an element without active atoms is infinite.
        """
        inverses = {element: rows.published_inverse() for element, rows in self._elements.items()}

        def grade(rows: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
            return {
                element: np.abs(offered @ inverses[element]).max(axis=1)
                if element in inverses
                else np.full(len(offered), np.inf)
                for element, offered in rows.items()
                if len(offered)
            }

        return grade

    def active_atoms(self) -> Counter[str]:
        """Number of active atoms of each structure that has some."""
        members = (member for rows in self._elements.values() for member in rows.members)
        return Counter(member for member in members if member)

    def missing(self) -> dict[str, int]:
        """Functions of each element that no atom was left for; only elements that lack some."""
        lacking = {
            element: int(self._elements[element].is_artificial.sum()) if element in self._elements else count
            for element, count in self.n_functions.items()
        }
        return {element: count for element, count in lacking.items() if count}

    def log_volume(self) -> dict[str, float]:
        """Ln |det A| per element, artificial rows included."""
        return {element: rows.log_volume() for element, rows in self._elements.items()}

    def write_asi(self, path: Path) -> None:
        """Write the inverse per element, as the engine's evaluators and LAMMPS read it.

        An element without a single atom gets a set of artificial rows only.
        """
        inverses = {
            element: self._elements[element].published_inverse()
            if element in self._elements
            else np.eye(count) / _PUBLISHED
            for element, count in self.n_functions.items()
        }
        _save(path, inverses)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the rows and where they come from, to go on with them in the next generation.

        Parameters
        ----------
        path : Path
            Where to.
        fingerprint : str
            Of the basis that the rows were projected with, see `projection_fingerprint`.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "tolerance": np.array(self.tolerance),
            "covers": np.array(self.covers),
            "fingerprint": np.array(fingerprint),
        }
        for element, count in self.n_functions.items():
            arrays[f"{element}.functions"] = np.array(count)
            if element in self._elements:
                rows = self._elements[element]
                arrays[f"{element}.scale"] = rows.scale
                arrays[f"{element}.matrix"] = rows.matrix
                arrays[f"{element}.members"] = np.array(rows.members, dtype=np.str_)
                arrays[f"{element}.reserve"] = rows.reserve
                arrays[f"{element}.reserve_members"] = np.array(rows.reserve_members, dtype=np.str_)
        _save(path, arrays)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> ActiveSet | None:
        """Read what `save` wrote; None when it belongs to another basis.

        Raises
        ------
        CorruptFileError
            When the file is not such a set.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if str(stored["fingerprint"]) != fingerprint:
                    return None
                elements = [key.removesuffix(".functions") for key in stored.files if key.endswith(".functions")]
                active = cls({e: int(stored[f"{e}.functions"]) for e in elements}, float(stored["tolerance"]))
                active.covers = int(stored["covers"])
                for element in elements:
                    if f"{element}.matrix" in stored.files:
                        matrix = stored[f"{element}.matrix"]
                        active._elements[element] = _Rows(
                            scale=stored[f"{element}.scale"],
                            matrix=matrix,
                            members=stored[f"{element}.members"].tolist(),
                            inverse=np.linalg.inv(matrix),
                            reserve=stored[f"{element}.reserve"],
                            reserve_members=stored[f"{element}.reserve_members"].tolist(),
                        )
        except (EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, np.linalg.LinAlgError) as error:
            raise CorruptFileError(
                f"{path} is not a readable active set; remove it, and the next run computes it anew"
            ) from error
        return active


def _artificial(rows: FloatArray) -> _Rows:
    size = np.sqrt((rows**2).mean(axis=0))
    # A function that symmetry makes zero is not zero but rounding, and no measure of what is typical.
    scale = np.maximum(size, _SMALLEST * size.max()) if size.any() else np.ones_like(size)
    return _Rows(
        scale=scale,
        matrix=np.eye(len(scale)) * _WHILE_CHOOSING,
        members=[""] * len(scale),
        inverse=np.eye(len(scale)) / _WHILE_CHOOSING,
        reserve=np.empty((0, len(scale))),
        reserve_members=[],
    )


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _swap(candidates: FloatArray, inverse: FloatArray, tolerance: float) -> NDArray[np.intp]:
    """Swap rows into the first n of the candidates while one enlarges their volume; return which are chosen.

    Unlike a choice from nothing, this never makes the volume smaller. (A. Mikhalev and I. Oseledets,
    Linear Algebra Appl. 538, 187, 2018.)
    """
    n = len(inverse)
    chosen, coefficients = np.arange(n), np.asfortranarray(candidates @ inverse)
    for _ in range(_MOST_SWAPS * n):
        flat = coefficients.reshape(-1, order="F")
        largest = max(int(flat.argmax()), int(flat.argmin()), key=lambda place: abs(flat[place]))  # without a copy
        column, row = divmod(largest, len(candidates))
        pivot = flat[largest]
        if abs(pivot) <= tolerance:
            break
        change = coefficients[row] / pivot
        change[column] -= 1 / pivot
        coefficients = dger(-1.0, coefficients[:, column].copy(), change, a=coefficients, overwrite_a=1)
        chosen[column] = row
    return chosen
