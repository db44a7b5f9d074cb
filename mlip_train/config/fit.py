"""What a fit learns, from what, and how: the sections `loss_weights` to `committee` of campaign.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mlip_train.base.frozen import Frozen, Variant
from mlip_train.config.basis import PositiveFloat

__all__ = [
    "ActiveSetRule",
    "CommitteeRule",
    "EarlyStopping",
    "EnergyBasedWeighting",
    "Fit",
    "LossWeights",
    "StartRule",
    "UniformWeighting",
    "Weighting",
    "Weights",
]


class LossWeights(Frozen):
    """Shares of the loss. Only ratios count: kappa = force / (energy + force), and stress over the same sum."""

    energy: float = Field(0.985, ge=0, le=1e6, description="Share of squared energy errors per atom, in eV².")
    force: float = Field(0.015, ge=0, le=1e6, description="Share of squared force-component errors, in (eV/Å)².")
    stress: Annotated[float, Field(ge=0, le=1e6)] | Literal["auto"] = Field(
        "auto",
        description="Share of squared errors of the virial (stress times volume) per atom, in eV², where there is "
        "stress: in linear solutions; the engine cannot train on it. auto: the largest share with which a "
        "cross-validation finds the errors of energies and forces to grow by 3 % at most. 0: none.",
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if self.energy + self.force <= 0:
            raise ValueError("energy and force cannot both be 0; there would be nothing to learn")
        return self

    @property
    def kappa(self) -> float:
        """The engine's force share of the loss, between 0 and 1."""
        return self.force / (self.energy + self.force)

    @property
    def stress_share(self) -> float | None:
        """The share of stress, where those of energies and forces sum to 1; None where the data decide."""
        return None if self.stress == "auto" else self.stress / (self.energy + self.force)


Weight = Annotated[float, Field(ge=0, le=1e6)]


class Weights(Frozen):
    """How often structures and atoms count in a fit: the product of what is said of them; 0 leaves them out."""

    config_type: dict[str, Weight] = Field(
        {}, description="By config type, for example {Surface: 3.0}; 1 where a type is not named."
    )
    structure: str | None = Field(
        "weight", min_length=1, description="Entry of `atoms.info` with the weight of a frame; null reads none."
    )
    atom: str | None = Field(
        "weights", min_length=1,
        description="Entry of `atoms.arrays` with weights of the forces on single atoms; null reads none.",
    )  # fmt: skip


class EarlyStopping(Frozen):
    """Stop when the training loss is flat."""

    min_relative_change: float = Field(
        1e-4, gt=0, lt=1, description="Smallest relative change of the training loss per iteration that counts."
    )
    patience: int = Field(50, ge=2, description="Iterations over which the change must be that small.")


class UniformWeighting(Variant):
    """Every structure and every atom counts the same."""

    kind: Literal["uniform"] = "uniform"


class EnergyBasedWeighting(Variant):
    """Structures low in energy count more; those too high are left out of the fit (and said so)."""

    kind: Literal["energy_based"] = "energy_based"
    energy_zero: Literal["convex_hull", "cohesive"] = Field(
        "convex_hull", description="What energies are measured from: the convex hull, or the lowest one."
    )
    low_window: PositiveFloat = Field(1.0, description="Structures below this (eV/atom) form the low tier.")
    upper_limit: PositiveFloat = Field(10.0, description="Structures above this (eV/atom) are left out.")
    low_share: float = Field(0.75, gt=0, le=1, description="Share of the energy weight for the low tier.")
    energy_offset: PositiveFloat = Field(1.0, description="Offset in the energy weight 1/(E+offset)², eV/atom.")
    force_offset: PositiveFloat = Field(1.0, description="Offset in the force weight 1/(F²+offset), (eV/Å)².")

    @model_validator(mode="after")
    def _windows_are_ordered(self) -> EnergyBasedWeighting:
        if self.low_window >= self.upper_limit:
            raise ValueError(f"low_window {self.low_window} must be below upper_limit {self.upper_limit}")
        return self


Weighting = Annotated[UniformWeighting | EnergyBasedWeighting, Field(discriminator="kind")]


class Fit(Frozen):
    """How the coefficients are optimised."""

    max_epochs: int = Field(
        0, ge=0,
        description="Largest number of optimiser iterations (per ladder step). 0: the linear solution itself is "
        "the potential; nothing is trained.",
    )  # fmt: skip
    max_hours: PositiveFloat | None = Field(
        None,
        description="Wall-time budget in hours of one fit (of each attempt, if it is interrupted): when it is "
        "used up, what was reached is the potential. null: none.",
    )
    optimizer: Literal["BFGS", "L-BFGS-B"] = Field(
        "BFGS", description="BFGS converges faster; L-BFGS-B needs less memory for thousands of coefficients."
    )
    batch_size: int = Field(20, ge=1, description="Structures evaluated at once; lower it when memory is short.")
    early_stopping: EarlyStopping | None = Field(None, description="Stop when the loss is flat; null never does.")
    weighting: Weighting = Field(UniformWeighting(), description="How structures are weighted against each other.")
    l2_regularization: float = Field(0.0, ge=0, description="Factor of the squared coefficients in the loss.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of everything random in a fit.")


class StartRule(Frozen):
    """What fits begin from."""

    first: Literal["linear", "zeros"] = Field(
        "linear", description="The first fit: linear least squares of the linear part, or all coefficients zero."
    )
    next: Literal["previous", "linear", "zeros"] = Field(
        "previous",
        description="Later fits: previous continues the current potential; linear solves for its linear part "
        "anew, keeping its radial functions; zeros forgets it.",
    )


class ActiveSetRule(Frozen):
    """Which of the stored structures a fit learns from. The dataset always keeps all."""

    method: Literal["maxvol", "none"] = Field(
        "none", description="maxvol: the structures with active atoms (D-optimality); none: all of them."
    )
    max_structures: int | None = Field(
        None, ge=1,
        description="Exactly so many whenever there are so many: the active set, then that of the others, and so "
        "on. null: the active set.",
    )  # fmt: skip
    gamma_tolerance: float = Field(
        1.01, ge=1.0, le=10.0, description="Extrapolation grade above which an atom enlarges the active set."
    )
    keep: tuple[str, ...] = Field(
        (), description="Config types that are always learned from, up to max_structures."
    )
    replay: Literal["all", "active_set"] | PositiveFloat = Field(
        "all",
        description="Structures of earlier generations: all, those of the active set, or so many per new one "
        "(those that add most first).",
    )

    @model_validator(mode="after")
    def _needs_maxvol(self) -> ActiveSetRule:
        if self.method == "none" and (self.max_structures is not None or self.keep):
            what = "max_structures" if self.max_structures is not None else "keep"
            raise ValueError(f"{what} chooses among structures; set method: maxvol with it")
        return self


class CommitteeRule(Frozen):
    """Fits of the same generation on other samples of its structures: where they differ, it is not certain."""

    members: int = Field(
        0, ge=0, le=20,
        description="Fits beside that of the generation, 2 or more; a trained one takes as long again. 0: none.",
    )  # fmt: skip

    @field_validator("members")
    @classmethod
    def _one_does_not_differ(cls, members: int) -> int:
        if members == 1:
            raise ValueError("a single member has nothing to differ from; set it to 2 or more, or to 0")
        return members
