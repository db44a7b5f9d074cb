"""How far a potential is from DFT, and the table of all ways to say so.

A measure is a field of `Errors`, named after its quantity and its statistic. A new one is a field here; one of a
new quantity is also a row of `QUANTITIES` and a line of `evaluation.residuals.DIFFERENCES`.
"""

from typing import Final, NamedTuple

from mlip_train.base.frozen import Frozen

__all__ = ["MEASURES", "QUANTITIES", "ElementErrors", "Errors", "Measure", "Quantity", "SplitErrors"]


class Quantity(NamedTuple):
    """What a potential predicts and DFT knows."""

    label: str
    unit: str
    negligible: float  # error below which none matters: DFT is no better, or symmetry forbids what is left
    independent: int  # errors of a structure that are independent of each other, at least


QUANTITIES: Final = {
    "energy": Quantity("Energy", "meV/atom", 0.01, 1),
    "force": Quantity("Force component", "meV/Å", 0.1, 3),
    "force_vector": Quantity("Force vector", "meV/Å", 0.1, 1),
    "stress": Quantity("Stress component", "GPa", 0.001, 6),
}
_STATISTICS: Final = {"rmse": "RMSE", "mae": "MAE", "max": "largest"}


class Errors(Frozen):
    """Differences to DFT over a set of structures.

    None where DFT gives no such value; bundles of early versions lack some, too.
    """

    n_structures: int
    n_atoms: int
    energy_rmse: float  # meV/atom
    energy_mae: float
    energy_max: float | None = None
    force_rmse: float  # meV/Å, over components
    force_mae: float
    force_max: float | None = None
    force_vector_rmse: float | None = None  # meV/Å, over the lengths of the differences
    stress_rmse: float | None = None  # GPa, over Voigt components
    stress_mae: float | None = None
    stress_max: float | None = None

    def __str__(self) -> str:
        stress = "" if self.stress_rmse is None else f", stress {self.stress_rmse:.2f} GPa"
        return (
            f"energy {self.energy_rmse:.1f} meV/atom, force {self.force_rmse:.0f} meV/Å{stress} RMSE "
            f"on {self.n_structures} structures"
        )


class ElementErrors(Frozen):
    """Differences of the forces on the atoms of one element."""

    n_atoms: int
    force_rmse: float  # meV/Å, over components
    force_mae: float
    force_max: float


class SplitErrors(Frozen):
    """Errors over a split, over each of its config types, and of the forces on each element."""

    overall: Errors
    by_config_type: dict[str, Errors]
    by_element: dict[str, ElementErrors] = {}


class Measure(NamedTuple):
    """One way to say how large errors are: a field of `Errors`."""

    name: str
    quantity: str
    statistic: str

    @property
    def unit(self) -> str:
        """The unit of the measure's values."""
        return QUANTITIES[self.quantity].unit

    @property
    def label(self) -> str:
        """The measure's name in a table."""
        return f"{QUANTITIES[self.quantity].label}, {_STATISTICS[self.statistic]}"

    @property
    def words(self) -> str:
        """The measure's name in a sentence."""
        return f"{self.quantity.replace('_', ' ')} {_STATISTICS[self.statistic]}"

    @property
    def power(self) -> int | None:
        """The power of the differences whose mean it is a root of; None where it is no mean."""
        return {"rmse": 2, "mae": 1}.get(self.statistic)


def _measure(name: str) -> Measure:
    quantity, _, statistic = name.rpartition("_")
    return Measure(name, quantity, statistic)


MEASURES: Final = {name: _measure(name) for name in Errors.model_fields if not name.startswith("n_")}
