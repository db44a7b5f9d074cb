"""What a fit came to."""

from mlip_train.base.frozen import Frozen
from mlip_train.records.potential import Start

__all__ = ["FitRecord", "LinearSolution", "Timings"]


class LinearSolution(Frozen):
    """How good a linear solution is on the structures it was solved from."""

    n_structures: int
    n_functions: int
    ridge: float  # relative to the diagonal of the normal equations
    stress_share: float = 0.0  # of the loss, beside the shares of energies and forces, which sum to 1
    loss: float  # as the engine defines it: without stress
    energy_rmse: float  # eV/atom
    force_rmse: float  # eV/Å, over components
    virial_rmse: float | None = None  # eV/atom, over components; None where no structure has stress
    lacking: str | None = None  # why the projections are the engine's own, which is much slower
    seconds: float

    def __str__(self) -> str:
        return (
            f"Linear solution of {self.n_functions} functions in {self.seconds:.0f} s: loss {self.loss:.4g}, RMSE "
            f"{1e3 * self.energy_rmse:.2f} meV/atom, {1e3 * self.force_rmse:.0f} meV/Å{self._of_stress} "
            f"({self.settings})" + self._on_what_lacked
        )

    @property
    def _of_stress(self) -> str:
        if self.virial_rmse is None:
            return ""
        return f", virial {1e3 * self.virial_rmse:.2f} meV/atom"

    @property
    def _on_what_lacked(self) -> str:
        if self.lacking is None:
            return ""
        return f". The projections are the engine's own, which is much slower: the basis has {self.lacking}"

    @property
    def settings(self) -> str:
        """What the cross-validation has chosen: the ridge, and the share of stress where there is any."""
        if self.virial_rmse is None:
            return f"ridge {self.ridge:.0e}"
        stress = f"share of stress {self.stress_share:.1e}" if self.stress_share else "stress not learned"
        return f"ridge {self.ridge:.0e}, {stress}"


class Timings(Frozen):
    """Seconds of an engine's last attempt. A GPU that waits for the CPU shows in `optimiser`."""

    start_up: float  # until the first iteration has ended, and from the last to the exit: imports, graphs, files
    evaluator: float  # energies, forces and their gradients, where TensorFlow computes
    optimiser: float  # what else iterations take: the optimiser's own algebra, tests of the potential

    def __str__(self) -> str:
        return (
            f"start-up and end {self.start_up:.0f} s, evaluator {self.evaluator:.0f} s, "
            f"optimiser {self.optimiser:.0f} s"
        )


class FitRecord(Frozen):
    """A fit that ended well."""

    identity: str
    start: Start
    stopped: str  # why it ended
    left_out: int  # structures that the weighting policy did not use
    seconds: float  # of the engine in the last attempt, from start to exit
    return_code: int
    engine: dict[str, str]
    devices: str | None = None  # that TensorFlow computed on
    timings: Timings | None = None  # of the last attempt
