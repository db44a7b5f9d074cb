"""What a published potential says of itself: the content of potential_gen_NN.json."""

from datetime import datetime
from typing import ClassVar, Literal

from mlip_train.base.frozen import Frozen
from mlip_train.records.checks import Check
from mlip_train.records.committee import CommitteeRecord
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.reference import SettledReference
from mlip_train.records.verdict import Standing

__all__ = ["Lineage", "PotentialRecord", "Start", "TrainingHistory"]


class Start(Frozen):
    """What a fit began from."""

    kind: Literal["zeros", "linear", "previous"]
    reason: str
    generation: int | None = None  # continued, or (kind linear) whose radial functions are kept
    grown_by: int = 0  # functions that the continued potential did not have
    resumed_after: int = 0  # iterations done in attempts that were interrupted

    def __str__(self) -> str:
        match self.kind:
            case "zeros":
                began = "starts from zeros"
            case "linear" if self.generation is None:
                began = "starts from the linear solution"
            case "linear":
                began = (
                    f"starts from the linear solution with the radial functions of generation {self.generation}"
                )
            case "previous":
                began = f"continues generation {self.generation}"
        grown = f", grown by {self.grown_by} functions" if self.grown_by else ""
        resumed = f"; resumed after {self.resumed_after} iterations" if self.resumed_after else ""
        return f"{began}{grown} ({self.reason}){resumed}"


class Lineage(Frozen):
    """Everything that determines a potential."""

    start: Start
    parent_sha256: str | None  # of the B-basis that was continued
    dataset_hash: str
    config_hash: str
    basis_hash: str
    n_train: int  # structures that the fit learned from
    n_test: int
    engine: dict[str, str]
    reference: SettledReference = SettledReference()


class TrainingHistory(Frozen):
    """Training errors per iteration; iteration 0 is the start."""

    iteration: tuple[int, ...]
    loss: tuple[float, ...]
    energy_rmse: tuple[float, ...]  # meV/atom
    force_rmse: tuple[float, ...]  # meV/Å
    test_iteration: tuple[int, ...] = ()
    test_loss: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()  # since the last attempt began, per iteration; empty where the log tells none


class PotentialRecord(Standing):
    """The content of potential_gen_NN.json."""

    file_is: ClassVar[str] = "the record of a published potential"
    remedy: ClassVar[str] = "give potential_gen_NN.json or a file beside it, or restore it from a backup"

    format: Literal[1] = 1
    generation: int
    created: datetime
    elements: tuple[str, ...]
    cutoff: float  # Å
    reference_energies: dict[str, float]  # eV, to be added per atom to get DFT totals
    files: dict[str, str]  # name -> sha256
    lineage: Lineage
    convergence: str = "not recorded"  # why the fit ended
    history: TrainingHistory
    errors: Evaluation
    seconds: dict[str, float]  # of the engine in the fit's last attempt, and where they went
    devices: str | None = None  # that TensorFlow computed on
    checks: tuple[Check, ...] = ()
    committee: CommitteeRecord | None = None
