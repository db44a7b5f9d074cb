"""What a potential must satisfy to become the current one, and who decided that it is or is not."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from mlip_train.check import CheckName
from mlip_train.errors import CorruptFileError
from mlip_train.model import FrozenModel

__all__ = ["Decision", "Gate", "Measure", "Physics", "ShortMD", "Standing", "Verdict", "read_standing"]

Measure = Literal["energy_rmse", "energy_mae", "force_rmse", "force_mae", "stress_rmse", "stress_mae"]


_RECORD: Final = TypeAdapter(dict[str, Any])


def _share(value: Any) -> Any:
    """Read "5 %" as 0.05."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        return float(value.rstrip().removesuffix("%")) / 100
    return value


class ShortMD(FrozenModel):
    """A short run at constant energy."""

    temperature: float = Field(300.0, gt=0, le=5000, description="Of the velocities that it begins with, in K.")
    steps: int = Field(200, ge=10, le=100_000, description="Number of time steps.")
    timestep: float = Field(1.0, gt=0, le=10, description="In fs.")


class Physics(FrozenModel):
    """Checks of the potential itself, beside its errors. Each takes seconds and leaves a picture."""

    dimer: bool = Field(True, description="Two atoms that approach each other do not fall into one another.")
    volume: bool = Field(
        True, description="Energy against volume of bulk structures in the data: one minimum, bulk modulus > 0."
    )
    symmetry: bool = Field(True, description="No net force, and the same forces after a rotation.")
    nve: ShortMD | None = Field(
        ShortMD(), description="MD at constant energy from a test structure: no drift, no lost atoms. null: none."
    )


class Gate(FrozenModel):
    """When a potential becomes the current one; else it is published as rejected."""

    max_regression: Annotated[float, BeforeValidator(_share)] = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share by which an error may exceed the parent's; campaign.yaml may say 5 %.",
    )
    on: tuple[Measure, ...] = Field(
        ("force_rmse", "energy_rmse"), description="Errors on the test set that are compared with the parent's."
    )
    require: tuple[CheckName, ...] = Field(
        ("consistency", "dimer", "nve"), description="Checks that must not fail."
    )


class Verdict(FrozenModel):
    """Whether a potential may be used, and why not."""

    accepted: bool
    reasons: tuple[str, ...] = ()  # against it, in sentences
    notes: tuple[str, ...] = ()  # what was found and does not count against it

    def __str__(self) -> str:
        return "accepted" if self.accepted else f"rejected: {'; '.join(self.reasons)}"


class Decision(FrozenModel):
    """What a person decided, whatever the gate had said."""

    accepted: bool
    by: str  # user@host
    when: datetime
    why: str = ""


class Standing(FrozenModel):
    """Whether a potential may be the current one: what the gate found, and what people decided since."""

    verdict: Verdict = Verdict(accepted=True)  # what was published before there was a gate, was accepted
    decisions: tuple[Decision, ...] = ()  # the newest last

    @property
    def accepted(self) -> bool:
        """The newest decision counts, else the gate's verdict."""
        return self.decisions[-1].accepted if self.decisions else self.verdict.accepted

    @property
    def state(self) -> str:
        """`accepted` or `rejected`, and by whom if not by the gate."""
        word = "accepted" if self.accepted else "rejected"
        return f"{word} by {self.decisions[-1].by}" if self.decisions else word


def read_standing(record: Path) -> Standing:
    """Read from a bundle's .json whether it may be used, and nothing else of it.

    Raises
    ------
    CorruptFileError
        When the file is not such a record.
    """
    try:
        content = _RECORD.validate_json(record.read_bytes())
        return Standing.model_validate({key: content[key] for key in Standing.model_fields if key in content})
    except ValueError as error:
        raise CorruptFileError(
            f"{record} is not the record of a published potential; restore it from a backup"
        ) from error
