"""What a potential must satisfy to become the current one: `physics` and `gate` of campaign.yaml."""

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mlip_train.base.frozen import Frozen, nearest_key
from mlip_train.records.errors import MEASURES

__all__ = ["CHECKS", "Gate", "Physics", "ShortMD"]


def _share(value: Any) -> Any:
    """Read "5 %" as 0.05."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        return float(value.rstrip().removesuffix("%")) / 100
    return value


class ShortMD(Frozen):
    """A short run at constant energy."""

    temperature: float = Field(300.0, gt=0, le=5000, description="Of the velocities that it begins with, in K.")
    steps: int = Field(200, ge=10, le=100_000, description="Number of time steps.")
    timestep: float = Field(1.0, gt=0, le=10, description="In fs.")


class Physics(Frozen):
    """Checks of the potential itself, beside its errors. Each takes seconds and leaves a picture."""

    # A field is a row of the table of checks: its name, its rule and what it asks. The check itself is the
    # function `check` of the module of that name in `mlip_train.assess`.

    dimer: bool = Field(True, description="Two atoms that approach each other do not fall into one another.")
    volume: bool = Field(
        True, description="Energy against volume of bulk structures in the data: one minimum, bulk modulus > 0."
    )
    symmetry: bool = Field(True, description="No net force, and the same forces after a rotation.")
    nve: ShortMD | None = Field(
        ShortMD(), description="MD at constant energy from a test structure: no drift, no lost atoms. null: none."
    )


# All checks in their order, and what each asks; whether files agree is always checked.
CHECKS: Final = {
    "consistency": "Trainer, B-basis, exported file and LAMMPS agree.",
    **{
        name: f"{str(field.description).partition('. ')[0].rstrip('.')}."
        for name, field in Physics.model_fields.items()
    },
}


_COMPARABLE: Final = [name for name, measure in MEASURES.items() if measure.power is not None]


def _known_in(names: Iterable[str], name: str) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is unknown; {nearest_key(name, names)}")
    return name


_Measure = Annotated[
    str,
    AfterValidator(partial(_known_in, _COMPARABLE)),
    WithJsonSchema({"enum": _COMPARABLE, "type": "string"}),
]
_Check = Annotated[
    str, AfterValidator(partial(_known_in, CHECKS)), WithJsonSchema({"enum": list(CHECKS), "type": "string"})
]


class Gate(Frozen):
    """When a potential becomes the current one; else it is published as rejected."""

    max_regression: Annotated[float, BeforeValidator(_share)] = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share by which an error may exceed the parent's; campaign.yaml may say 5 %.",
    )
    on: tuple[_Measure, ...] = Field(
        ("force_rmse", "energy_rmse"), description="Errors on the test set that are compared with the parent's."
    )
    require: tuple[_Check, ...] = Field(("consistency", "dimer", "nve"), description="Checks that must not fail.")
