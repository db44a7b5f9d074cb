"""The reference potential of a campaign: what a person may decide, and the numbers that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from mlip_train.atoms.pair_potentials import LennardJonesPotential, LJParameters, SwitchRadii, ZBLPotential
from mlip_train.atoms.pairs import contact_distance, pair_name, pairs_of
from mlip_train.base.frozen import Frozen, Variant, nearest_key

__all__ = ["RARELY", "ZBL", "LennardJones", "NoReference", "Reference", "baseline_of", "check_pairs"]

# Share of the contact distance that atoms in MD hardly ever come below. A baseline that reaches farther hinders
# the fit: in alloys of aluminium and nickel or copper and gold force errors were 7 and 18 times as large.
RARELY: Final = 0.8
_INNER_SHARE: Final = 0.5  # of the outer radius, where nothing else is said
_NEAREST_SWITCH: Final = 0.4  # Å
_NARROWEST_SWITCH: Final = 0.05  # Å


def _is_a_pair(name: str) -> str:
    elements = name.split("-")
    if len(elements) != 2 or any(element not in atomic_numbers or element == "X" for element in elements):
        raise ValueError(f"{name!r} is not a pair of elements; write it as Al-Ni")
    return pair_name(*elements)


def _named_once(pairs: object) -> object:
    if isinstance(pairs, dict):
        names = [tuple(sorted(str(name).split("-"))) for name in pairs]
        for name in pairs:
            if names.count(tuple(sorted(str(name).split("-")))) > 1:
                raise ValueError(f"{name} is given twice; the order of its elements makes no difference")
    return pairs


Pair = Annotated[str, AfterValidator(_is_a_pair)]


class NoReference(Variant):
    """No reference potential: ACE describes everything, also what it has never seen."""

    kind: Literal["none"] = "none"


class ZBL(Variant):
    """Ziegler-Biersack-Littmark screened nuclear repulsion at short distance."""

    kind: Literal["zbl"] = "zbl"
    mode: Literal["core", "delta"] = Field(
        "core",
        description="core: at short distance, below all data, the exported file itself is ZBL; delta: ACE "
        "learns the difference to ZBL, which is added beside it.",
    )
    pairs: Annotated[dict[Pair, SwitchRadii], BeforeValidator(_named_once)] = Field(
        {},
        description="Radii in Å per pair, for example {Al-Ni: {inner: 0.9, outer: 1.8}}: the switch is between "
        "them. Not given: delta switches ZBL off between 0.4 and 0.8 of the sum of the covalent radii; core "
        "hands over to ACE where the data end, or closer.",
    )

    @field_validator("pairs")
    @classmethod
    def _switch_where_atoms_are(cls, pairs: dict[str, SwitchRadii]) -> dict[str, SwitchRadii]:
        for pair, radii in pairs.items():
            if radii.outer < _NEAREST_SWITCH or radii.outer - radii.inner < _NARROWEST_SWITCH:
                raise ValueError(
                    f"{pair}: outer must be {_NEAREST_SWITCH:g} Å or more, and {_NARROWEST_SWITCH:g} Å or more "
                    "above inner"
                )
        return pairs


class LennardJones(Variant):
    """A Lennard-Jones baseline: ACE learns the difference."""

    kind: Literal["lj"] = "lj"
    mode: Literal["delta"] = Field("delta", description="Lennard-Jones exists only as a difference.")
    cutoff: float = Field(gt=0, le=30, description="Cutoff in Å; the energy is shifted to zero there.")
    mixing: Literal["arithmetic", "geometric"] | None = Field(
        None,
        description="Parameters of unlike pairs that are not given: ε = √(ε₁ε₂) and σ the arithmetic (Lorentz-"
        "Berthelot) or geometric mean. null: all pairs must be given.",
    )
    pairs: Annotated[dict[Pair, LJParameters], BeforeValidator(_named_once)] = Field(
        min_length=1, description="Parameters per pair, for example {Ar-Ar: {epsilon: 0.0104, sigma: 3.4}}."
    )

    @model_validator(mode="after")
    def _wells_are_within_the_cutoff(self) -> LennardJones:
        for pair, parameters in self.pairs.items():
            if 2 ** (1 / 6) * parameters.sigma > self.cutoff:
                raise ValueError(
                    f"cutoff {self.cutoff:g} Å cuts {pair} above its minimum at 2^(1/6) sigma = "
                    f"{2 ** (1 / 6) * parameters.sigma:.3g} Å; 2.5 sigma is usual"
                )
        return self


def _in_short(reference: object) -> object:
    if isinstance(reference, str):
        return {"kind": reference}
    if not isinstance(reference, (dict, Frozen)) or (isinstance(reference, dict) and "kind" not in reference):
        raise ValueError("write none, zbl, or a mapping with a kind: {kind: none | zbl | lj, ...}")
    return reference


Reference = Annotated[
    NoReference | ZBL | LennardJones,
    Field(discriminator="kind"),
    BeforeValidator(_in_short),
]


def baseline_of(reference: Reference, elements: Iterable[str]) -> ZBLPotential | LennardJonesPotential | None:
    """The pair potential that is subtracted from the labels and added to the predictions; None in other modes.

    It follows from the configuration alone, so that it stays the same from generation to generation.
    """
    if isinstance(reference, LennardJones):
        parameters = {pair: _lj_parameters(reference, pair) for pair in pairs_of(elements)}
        return LennardJonesPotential(r_cut=reference.cutoff, parameters=parameters)
    if isinstance(reference, ZBL) and reference.mode == "delta":
        return ZBLPotential(
            radii={pair: reference.pairs.get(pair, _usual_radii(pair)) for pair in pairs_of(elements)}
        )
    return None


def check_pairs(reference: Reference, elements: Iterable[str]) -> None:
    """Compare the pairs that are given with the elements of a campaign.

    Raises
    ------
    ValueError
        When a pair has other elements, or Lennard-Jones parameters are missing.
    """
    given = () if isinstance(reference, NoReference) else reference.pairs
    known = pairs_of(elements)
    for pair in given:
        if pair not in known:
            raise ValueError(f"reference.pairs: {pair} is not a pair of the elements; {nearest_key(pair, known)}")
    if isinstance(reference, LennardJones):
        for pair in known:
            _lj_parameters(reference, pair)


def _usual_radii(pair: str) -> SwitchRadii:
    outer = RARELY * contact_distance(pair)
    return SwitchRadii(inner=_INNER_SHARE * outer, outer=outer)


def _lj_parameters(reference: LennardJones, pair: str) -> LJParameters:
    if pair in reference.pairs:
        return reference.pairs[pair]
    one, other = (reference.pairs.get(f"{element}-{element}") for element in pair.split("-"))
    if reference.mixing is None or one is None or other is None:
        raise ValueError(
            f"reference.pairs: {pair} has no parameters; give its epsilon and sigma, or set mixing and give the "
            "pairs of like elements"
        )
    epsilon = (one.epsilon * other.epsilon) ** 0.5
    if reference.mixing == "arithmetic":
        return LJParameters(epsilon=epsilon, sigma=(one.sigma + other.sigma) / 2)
    return LJParameters(epsilon=epsilon, sigma=(one.sigma * other.sigma) ** 0.5)
