"""Records of published potentials that say no more than they must."""

from __future__ import annotations

from datetime import UTC, datetime

from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.potential import Lineage, PotentialRecord, Start, TrainingHistory

__all__ = ["plain_record"]


def plain_record(generation: int) -> PotentialRecord:
    """An accepted potential of silicon without files."""
    errors = Errors(n_structures=1, n_atoms=1, energy_rmse=1, energy_mae=1, force_rmse=1, force_mae=1)
    lineage = Lineage(
        start=Start(kind="linear", reason="a test"), parent_sha256=None, dataset_hash="", config_hash="",
        basis_hash="", n_train=1, n_test=0, engine={},
    )  # fmt: skip
    return PotentialRecord(
        generation=generation,
        created=datetime.now(UTC),
        elements=("Si",),
        cutoff=5.0,
        reference_energies={"Si": -1.5},
        files={},
        lineage=lineage,
        history=TrainingHistory(iteration=(), loss=(), energy_rmse=(), force_rmse=()),
        errors=Evaluation(train=SplitErrors(overall=errors, by_config_type={}), test=None),
        seconds={},
    )
