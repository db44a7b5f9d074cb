"""Whether the engine really continued from the potential that it was given."""

import math

import pandas as pd

from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.errors import TrainingFailedError

__all__ = ["check_continued", "continues"]


def continues(plan: FitPlan, metrics: pd.DataFrame) -> bool:
    """Whether the first errors that the engine reported are those of the start potential; True while unknown."""
    expected = plan.start_errors
    if expected is None or metrics.empty:
        return True
    energy, force = _first_errors(metrics)
    if not math.isfinite(energy + force):
        return True  # judged with the rest of the evidence
    return _is_close(energy, expected.energy_rmse, 0.02) and _is_close(force, expected.force_rmse, 0.1)


def check_continued(plan: FitPlan, metrics: pd.DataFrame) -> None:
    """Compare the first errors that the engine reported with those of the start potential on the same data.

    Raises
    ------
    TrainingFailedError
        When they differ: the engine began from something else.
    """
    expected = plan.start_errors
    if expected is not None and not continues(plan, metrics):
        energy, force = _first_errors(metrics)
        raise TrainingFailedError(
            f"the fit did not continue from {plan.run.start_potential}: that has errors of "
            f"{expected.energy_rmse:.3g} meV/atom and {expected.force_rmse:.3g} meV/Å on the training structures, "
            f"but the engine began with {energy:.3g} meV/atom and {force:.3g} meV/Å. Nothing was published; look "
            "for keys in 'extra' that change the potential or the data, and remove them"
        )


def _first_errors(metrics: pd.DataFrame) -> tuple[float, float]:
    """Errors in the first row: energy in meV/atom, force in meV/Å."""
    return 1e3 * float(metrics["rmse_epa"].iloc[0]), 1e3 * float(metrics["rmse_f_comp"].iloc[0])


def _is_close(value: float, expected: float, absolute: float) -> bool:
    return abs(value - expected) <= absolute + 0.01 * expected
