"""Reading the engine's metrics.txt while it grows and after it ended."""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from mlip_train.base.files import write_atomically
from mlip_train.errors import TrainingFailedError

__all__ = ["FitProgress", "ProgressClock", "place_on", "read_metrics", "write_metrics"]

_COLUMNS: Final = ["ladder_step", "cycle_step", "iter_num", "loss", "rmse_epa", "rmse_f_comp", "nfuncs"]


@dataclass(frozen=True)
class FitProgress:
    """How far a running fit has come; the loss is NaN when the engine says so."""

    iteration: int
    most_iterations: int
    loss: float
    energy_rmse: float  # meV/atom
    force_rmse: float  # meV/Å
    seconds_per_iteration: float | None

    @property
    def percent(self) -> float:
        """Share of the iterations that are done."""
        return min(100.0 * self.iteration / self.most_iterations, 100.0)

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to the last iteration."""
        if self.seconds_per_iteration is None:
            return None
        return self.seconds_per_iteration * max(self.most_iterations - self.iteration, 0)

    def brief(self) -> str:
        """Describe the progress in few words, to stand beside a progress bar."""
        left = "" if self.seconds_left is None else f"  {_duration(self.seconds_left)} left"
        errors = f"{self.energy_rmse:.1f} meV/atom  {self.force_rmse:.0f} meV/Å"
        return f"{self.iteration}/{self.most_iterations}  loss {self.loss:.3g}  {errors}{left}"

    def __str__(self) -> str:
        left = "" if not self.seconds_left else f", about {_duration(self.seconds_left)} left"
        pace = "" if self.seconds_per_iteration is None else f" ({self.seconds_per_iteration:.2f} s each{left})"
        return (
            f"iteration {self.iteration}/{self.most_iterations}: loss {self.loss:.4g}, RMSE "
            f"{self.energy_rmse:.1f} meV/atom, {self.force_rmse:.0f} meV/Å{pace}"
        )


def read_metrics(path: Path) -> pd.DataFrame:
    """Return the complete rows of a metrics file; empty while there are none.

    The engine writes while we read: a last line without its end is left for the next time.
    Columns as the engine names them (`iter_num`, `loss`, `rmse_epa` in eV, `rmse_f_comp` in eV/Å, ...).

    Raises
    ------
    TrainingFailedError
        When the file is not such a table.
    """
    if not path.exists():
        return pd.DataFrame(columns=_COLUMNS)
    text = path.read_text(errors="replace")
    complete = text[: text.rfind("\n") + 1]
    if complete.count("\n") < 2:
        return pd.DataFrame(columns=_COLUMNS)
    try:
        return pd.read_csv(io.StringIO(complete), sep=r"\s+", dtype=float)[_COLUMNS]
    except (ValueError, KeyError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise TrainingFailedError(f"{path} is not a table of the engine's metrics ({reason})") from error


def write_metrics(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows as the engine would, with the columns that `read_metrics` returns."""
    table = pd.DataFrame(rows, columns=_COLUMNS)
    write_atomically(path, table.to_csv(sep=" ", index=False))


def place_on(metrics: pd.DataFrame, test_metrics: pd.DataFrame) -> list[int | None]:
    """Row of `metrics` that each row of `test_metrics` belongs to; None where there is no such row.

    The engine counts anew with every ladder step and cycle, and repeats its last test evaluation
    under a number that no iteration has.
    """
    stages = ["ladder_step", "cycle_step", "iter_num"]
    rows = {key: row for row, key in enumerate(metrics[stages].itertuples(index=False, name=None))}
    return [rows.get(key) for key in test_metrics[stages].itertuples(index=False, name=None)]


@dataclass
class ProgressClock:
    """Turns the rows of a growing metrics file into progress with a pace."""

    most_iterations: int
    done_before: int = 0  # by attempts that were interrupted
    _first: tuple[int, float] | None = field(default=None, init=False)

    def progress(self, metrics: pd.DataFrame) -> FitProgress | None:
        """Progress of the last row, or None before the first."""
        if metrics.empty:
            return None
        last = metrics.iloc[-1]
        iteration = self.done_before + len(metrics) - 1  # iter_num starts again with every ladder step
        now = time.monotonic()
        if self._first is None:
            self._first = (iteration, now)
        done = iteration - self._first[0]
        return FitProgress(
            iteration=iteration,
            most_iterations=self.most_iterations,
            loss=float(last["loss"]),
            energy_rmse=1e3 * float(last["rmse_epa"]),
            force_rmse=1e3 * float(last["rmse_f_comp"]),
            seconds_per_iteration=(now - self._first[1]) / done if done else None,
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
