"""The errors of a potential and of its parent."""

from typing import Any, Final, Literal

from pydantic import model_validator

from mlip_train.base.frozen import Frozen
from mlip_train.records.errors import SplitErrors

__all__ = ["ErrorRatio", "Evaluation", "Grades", "WorstStructure"]

_BEFORE_0_2: Final = ("trainer_disagreement", "file_energy_difference", "file_force_difference")


class Grades(Frozen):
    """Largest extrapolation grade of each structure, over a set of them."""

    n_structures: int
    median: float
    percentile_95: float
    largest: float
    n_above_one: int  # structures that reach beyond what the fit learned from


class ErrorRatio(Frozen):
    """An error of a potential beside that of its parent, on exactly the same test structures."""

    measure: str  # of `MEASURES`
    on: Literal["all", "earlier", "config_type"]  # earlier: those that were there when the parent was trained
    config_type: str | None = None
    n_structures: int
    own: float  # meV/atom, meV/Å or GPa
    parent: float  # the same
    at_least: float  # own / parent, lower end of what chance leaves open; see `PairedErrors`

    @property
    def growth(self) -> float:
        """The share by which the error grew."""
        return self.own / self.parent - 1


class WorstStructure(Frozen):
    """A structure on which a potential is far from DFT."""

    structure_id: str
    source: str
    frame: int
    config_type: str
    n_atoms: int
    energy_error: float  # meV/atom, predicted minus DFT
    force_rmse: float  # meV/Å, over components
    force_max: float  # meV/Å, over components
    gamma: float | None  # largest extrapolation grade in it


class Evaluation(Frozen):
    """Errors of one potential, and of its parent where that can be compared."""

    train: SplitErrors
    test: SplitErrors | None
    before: SplitErrors | None = None  # of the parent, on the same test set
    new: SplitErrors | None = None  # of the parent, on what this generation brought
    parent: int | None = None  # its generation
    compared: SplitErrors | None = None  # on what `before` is measured on, where that is not the whole test set
    ratios: tuple[ErrorRatio, ...] = ()  # to the errors of the parent
    grades: Grades | None = None  # on the test set
    worst: tuple[WorstStructure, ...] = ()  # of the test set (else of the training set), by force RMSE

    @model_validator(mode="before")
    @classmethod
    def _without_what_the_check_says(cls, values: Any) -> Any:
        """Bundles of versions before 0.2 hold here, too, what their check `consistency` found."""
        return {k: v for k, v in values.items() if k not in _BEFORE_0_2} if isinstance(values, dict) else values

    @property
    def comparable(self) -> SplitErrors | None:
        """Errors on exactly those test structures that `before` is measured on."""
        return self.compared or self.test

    def __str__(self) -> str:
        test = "no test set" if self.test is None else f"test set: {self.test.overall}"
        before = "" if self.before is None else f" (its parent: {self.before.overall})"
        return f"{test}{before}; training set: {self.train.overall}"
