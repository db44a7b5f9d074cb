"""What a person may decide about a campaign: `CampaignConfig` and its parts.

Every field states its unit and meaning: the JSON schema of these models is the documentation of
`campaign.yaml` (``mlip-train schema``) and the source of the web form. A default shown here is the
one of the `standard` preset; `mlip_train.config.presets` lists what `quick` and `accurate` set instead.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mlip_train.base.files import hash_of
from mlip_train.base.frozen import Frozen, explain
from mlip_train.config.assessment import Gate, Physics
from mlip_train.config.basis import Basis, Element
from mlip_train.config.engine import Engine
from mlip_train.config.fit import (
    ActiveSetRule,
    CommitteeRule,
    EnergyBasedWeighting,
    Fit,
    LossWeights,
    StartRule,
    Weights,
)
from mlip_train.config.native_keys import check_extra
from mlip_train.config.presets import PRESETS, fill_in
from mlip_train.config.reference import ZBL, NoReference, Reference, baseline_of, check_pairs
from mlip_train.errors import ConfigError

__all__ = ["CampaignConfig", "Checks", "SplitRule"]


class SplitRule(Frozen):
    """Which structures are kept for testing. Decided once per structure, never changed."""

    fraction: float = Field(0.1, ge=0, le=0.5, description="Share of structures kept for testing.")
    stratify_by: Literal["config_type"] | None = Field(
        "config_type", description="Keep that share within each config_type, or (null) of the whole."
    )


class Checks(Frozen):
    """What a DFT result must satisfy to enter the dataset; the rest goes to quarantine."""

    min_distance: float = Field(0.5, ge=0.1, description="Two atoms closer than this (Å) are refused.")
    max_force: float = Field(100.0, gt=0, description="A force on an atom above this (eV/Å) is refused.")


class CampaignConfig(Frozen):
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
    weights: Weights = Field(Weights(), description="How often structures and atoms count.")
    fit: Fit = Field(Fit(), description="Optimisation.")
    start: StartRule = Field(StartRule(), description="What fits begin from.")
    active_set: ActiveSetRule = Field(ActiveSetRule(), description="Which structures a fit learns from.")
    test: SplitRule = Field(SplitRule(), description="The test split.")
    checks: Checks = Field(Checks(), description="What a DFT result must satisfy to be stored.")
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
        """SHA-256 of all that is decided; that of an earlier version where it decides the same."""
        said = self.model_dump(mode="json")
        if self.weights == Weights():  # which version 0.1 did not know
            del said["weights"]
        return hash_of(said)

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
