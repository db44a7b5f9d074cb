"""What a person may decide about a campaign: `CampaignConfig` and its parts.

Every field states its unit and meaning: the JSON schema of these models is the documentation of
`campaign.yaml` (``mlip-train schema``) and the source of the web form. A default shown here is the
one of the `standard` preset; `mlip_train.presets` lists what `quick` and `accurate` set instead.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from mlip_train.engine import Engine
from mlip_train.errors import ConfigError
from mlip_train.files import hash_of
from mlip_train.gate import Gate, Physics
from mlip_train.model import FrozenModel, Variant, explain
from mlip_train.pacemaker.native_keys import check_extra
from mlip_train.presets import PRESETS, fill_in
from mlip_train.reference import ZBL, NoReference, Reference, baseline_of, check_pairs

__all__ = [
    "ActiveSetRule",
    "Basis",
    "CampaignConfig",
    "Checks",
    "CommitteeRule",
    "EarlyStopping",
    "Element",
    "EnergyBasedWeighting",
    "Fit",
    "LossWeights",
    "SplitRule",
    "StartRule",
    "UniformWeighting",
]

# Largest l per correlation order that the engine's coupling table holds (order 2 and up).
_MAX_L_BY_ORDER = (0, 10, 6, 4, 3, 2)


def _known_element(symbol: str) -> str:
    if symbol == "X" or symbol not in atomic_numbers:
        meant = symbol.capitalize()
        hint = f"did you mean {meant!r}?" if meant in atomic_numbers else "write symbols such as 'Si' or 'Ni'"
        raise ValueError(f"{symbol!r} is not a chemical element; {hint}")
    return symbol


Element = Annotated[str, AfterValidator(_known_element)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Basis(FrozenModel):
    """The ACE basis: how many functions describe the surroundings of an atom."""

    cutoff: float = Field(
        6.0, ge=2.0, le=15.0, description="Outer cutoff in Å: atoms further apart do not feel each other."
    )
    functions_per_element: int = Field(1000, ge=1, description="Largest number of B-basis functions per element.")
    embedding: Literal["linear", "finnis_sinclair"] = Field(
        "linear", description="How densities become an energy: linear E = ρ₁, or finnis_sinclair E = ρ₁ + √ρ₂."
    )
    radial_basis: Literal["SBessel", "ChebExpCos", "ChebPow"] = Field(
        "SBessel", description="Family of the radial functions."
    )
    radial_parameters: tuple[float, ...] = Field(
        (5.25,), min_length=1, description="Parameters of the radial family (λ, dimensionless)."
    )
    nradmax_by_orders: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (15, 6, 5, 3, 2, 1), min_length=1, max_length=6,
        description="Largest radial index n per correlation order 1, 2, 3, ... (order k is k+1 bodies).",
    )  # fmt: skip
    lmax_by_orders: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 6, 5, 3, 2, 1), min_length=1, max_length=6,
        description="Largest angular momentum l per correlation order; as long as nradmax_by_orders.",
    )  # fmt: skip
    ladder_step: int | None = Field(
        None, ge=1,
        description="Functions added per ladder step when a fit starts from zeros; null fits all at once.",
    )  # fmt: skip
    ladder_type: Literal["body_order", "power_order"] = Field(
        "body_order", description="The order in which a ladder adds functions."
    )

    @model_validator(mode="after")
    def _orders_fit(self) -> Basis:
        if len(self.nradmax_by_orders) != len(self.lmax_by_orders):
            raise ValueError(
                f"nradmax_by_orders has {len(self.nradmax_by_orders)} entries and lmax_by_orders "
                f"{len(self.lmax_by_orders)}; give one of each per correlation order"
            )
        for order, (largest, ceiling) in enumerate(zip(self.lmax_by_orders, _MAX_L_BY_ORDER, strict=False), 1):
            if largest > ceiling:
                raise ValueError(f"lmax_by_orders: l = {largest} at order {order}; the engine allows {ceiling}")
        return self


class LossWeights(FrozenModel):
    """Shares of the loss. Only the ratio of energy to force counts: kappa = force / (energy + force)."""

    energy: float = Field(0.985, ge=0, le=1e6, description="Share of squared energy errors per atom, in eV².")
    force: float = Field(0.015, ge=0, le=1e6, description="Share of squared force-component errors, in (eV/Å)².")
    stress: float = Field(0.0, ge=0, description="Must be 0: stress is stored and evaluated, not trained.")

    @field_validator("stress")
    @classmethod
    def _stress_cannot_be_trained(cls, stress: float) -> float:
        if stress:
            raise ValueError("the engine cannot train on stress; set it to 0 (stress is stored and evaluated)")
        return stress

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if self.energy + self.force <= 0:
            raise ValueError("energy and force cannot both be 0; there would be nothing to learn")
        return self

    @property
    def kappa(self) -> float:
        """The engine's force share of the loss, between 0 and 1."""
        return self.force / (self.energy + self.force)


class EarlyStopping(FrozenModel):
    """Stop when the training loss is flat."""

    min_relative_change: float = Field(
        1e-4, gt=0, lt=1, description="Smallest relative change of the training loss per epoch that counts."
    )
    patience: int = Field(50, ge=2, description="Epochs over which the change must be that small.")


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


class Fit(FrozenModel):
    """How the coefficients are optimised."""

    max_epochs: int = Field(
        0, ge=0,
        description="Largest number of optimiser iterations (per ladder step). 0: the linear solution itself is "
        "the potential, in seconds.",
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


class StartRule(FrozenModel):
    """What fits begin from."""

    first: Literal["linear", "zeros"] = Field(
        "linear", description="The first fit: linear least squares of the linear part, or all coefficients zero."
    )
    next: Literal["previous", "linear", "zeros"] = Field(
        "previous",
        description="Later fits: previous continues the current potential; linear solves for its linear part "
        "anew, keeping its radial functions; zeros forgets it.",
    )


class ActiveSetRule(FrozenModel):
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


class CommitteeRule(FrozenModel):
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


class SplitRule(FrozenModel):
    """Which structures are kept for testing. Decided once per structure, never changed."""

    fraction: float = Field(0.1, ge=0, le=0.5, description="Share of structures kept for testing.")
    stratify_by: Literal["config_type"] | None = Field(
        "config_type", description="Keep that share within each config_type, or (null) of the whole."
    )


class Checks(FrozenModel):
    """What a DFT result must satisfy to enter the dataset; the rest goes to quarantine."""

    min_distance: float = Field(0.5, ge=0.1, description="Two atoms closer than this (Å) are refused.")
    max_force: float = Field(100.0, gt=0, description="A force on an atom above this (eV/Å) is refused.")


class CampaignConfig(FrozenModel):
    """Everything a person may decide about a campaign; only `elements` has no default."""

    elements: tuple[Element, ...] = Field(
        min_length=1, description="Chemical elements of the potential, for example [Al, Ni]."
    )
    preset: Literal["quick", "standard", "accurate"] = Field(
        "standard",
        description="Fills what is not said below. Functions per element: 100 (quick), 1000 (standard), 1500 "
        "(accurate).",
    )
    basis: Basis = Field(Basis(), description="The ACE basis.")
    reference: Reference = Field(NoReference(), description="Reference potential, for what the data do not know.")
    reference_energies: Literal["least_squares", "isolated_atoms"] | dict[Element, float] = Field(
        "least_squares",
        description="Energy per element that is subtracted before the fit: least_squares over the first "
        "batch, isolated_atoms in the data, or explicit values in eV. Pinned when an element first appears.",
    )
    loss_weights: LossWeights = Field(LossWeights(), description="Shares of the loss.")
    fit: Fit = Field(Fit(), description="Optimisation.")
    start: StartRule = Field(StartRule(), description="What fits begin from.")
    active_set: ActiveSetRule = Field(ActiveSetRule(), description="Which structures a fit learns from.")
    test: SplitRule = Field(SplitRule(), description="The test split.")
    checks: Checks = Field(Checks(), description="The gate that DFT results pass before they are stored.")
    physics: Physics = Field(Physics(), description="Checks of the potential itself.")
    gate: Gate = Field(Gate(), description="When a potential becomes the current one.")
    committee: CommitteeRule = Field(CommitteeRule(), description="Uncertainty of energies and forces.")
    engine: Engine = Field(Engine(), description="Where and how Pacemaker runs.")
    extra: dict[str, Any] = Field(
        {}, description="Native input.yaml keys that have no field here, for example {fit: {fit_cycles: 2}}."
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        return fill_in(values, PRESETS[preset]) if isinstance(preset, str) and preset in PRESETS else values

    @field_validator("elements")
    @classmethod
    def _elements_are_unique(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(elements)) != len(elements):
            raise ValueError(f"an element is named twice in {list(elements)}")
        return tuple(sorted(elements))

    @field_validator("extra")
    @classmethod
    def _extra_is_native(cls, extra: dict[str, Any]) -> dict[str, Any]:
        check_extra(extra)
        try:
            json.dumps(extra, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"only text, finite numbers, lists and mappings with text keys: {error}") from error
        return extra

    @model_validator(mode="after")
    def _no_bond_is_longer_than_the_cutoff(self) -> CampaignConfig:
        for name, bond in self.extra.get("potential", {}).get("bonds", {}).items():
            if bond.get("rcut", 0) > self.basis.cutoff:
                raise ValueError(
                    f"extra.potential.bonds.{name}.rcut is larger than basis.cutoff = {self.basis.cutoff:g} Å; "
                    "raise basis.cutoff to the largest one"
                )
        return self

    @model_validator(mode="after")
    def _explicit_energies_are_complete(self) -> CampaignConfig:
        if isinstance(self.reference_energies, dict):
            missing = set(self.elements) - set(self.reference_energies)
            unknown = set(self.reference_energies) - set(self.elements)
            if missing or unknown:
                wrong = f"missing {sorted(missing)}" if missing else f"not in elements: {sorted(unknown)}"
                raise ValueError(f"reference_energies must name each element once; {wrong}")
        return self

    @model_validator(mode="after")
    def _reference_is_complete(self) -> CampaignConfig:
        check_pairs(self.reference, self.elements)
        for pair, radii in (self.reference.pairs if isinstance(self.reference, ZBL) else {}).items():
            if radii.outer > self.basis.cutoff:
                raise ValueError(
                    f"reference.pairs.{pair}.outer is larger than basis.cutoff = {self.basis.cutoff:g} Å"
                )
        return self

    @model_validator(mode="after")
    def _weights_are_by_dft_energies(self) -> CampaignConfig:
        is_learned_in_part = baseline_of(self.reference, self.elements) is not None
        if is_learned_in_part and isinstance(self.fit.weighting, EnergyBasedWeighting):
            raise ValueError(
                "fit.weighting: energy_based would weigh by what is left of the energies beside the reference "
                "potential; take weighting: {kind: uniform}, or reference: {kind: zbl, mode: core}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_required_is_checked(self) -> CampaignConfig:
        for name in self.gate.require:
            if name != "consistency" and not getattr(self.physics, name):
                raise ValueError(f"gate.require: {name} is not checked; switch physics.{name} on, or leave it out")
        return self

    @model_validator(mode="after")
    def _something_is_fitted(self) -> CampaignConfig:
        if self.fit.max_epochs == 0 and "zeros" in (self.start.first, self.start.next):
            raise ValueError(
                "fit.max_epochs: 0 trains nothing from zeros; raise it, or set start.first and start.next: linear"
            )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that is decided."""
        return hash_of(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, values: Any, origin: str) -> CampaignConfig:
        """Validate plain values read from `origin`.

        Raises
        ------
        ConfigError
            With one line per problem, each naming the key, and the origin.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "\n  ".join(explain(error, values).splitlines())
            raise ConfigError(f"{origin} is not a valid campaign configuration:\n  {problems}") from error
