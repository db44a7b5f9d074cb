"""The reference potential of a campaign: what a person may decide, and the numbers that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from ase.data import atomic_numbers, covalent_radii, missing
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat

from mlip_train.model import FrozenModel, nearest_key
from mlip_train.priors import (
    Baseline,
    LennardJonesPotential,
    LJParameters,
    SwitchRadii,
    ZBLPotential,
    pair_name,
    pairs_of,
)

__all__ = [
    "ZBL",
    "LennardJones",
    "NoReference",
    "Reference",
    "SettledReference",
    "baseline_of",
    "check_pairs",
    "contact_distance",
]

_INNER_SHARE: Final = 0.5  # of the outer radius, where nothing else is said


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


class NoReference(FrozenModel):
    """No reference potential: ACE describes everything, also what it has never seen."""

    kind: Literal["none"] = "none"


class ZBL(FrozenModel):
    """Ziegler-Biersack-Littmark screened nuclear repulsion at short distance."""

    kind: Literal["zbl"] = "zbl"
    mode: Literal["core", "delta"] = Field(
        "core",
        description="core: below the shortest distance in the data the exported file itself is ZBL; delta: ACE "
        "learns the difference to ZBL, which is added beside it.",
    )
    pairs: Annotated[dict[Pair, SwitchRadii], BeforeValidator(_named_once)] = Field(
        {},
        description="Radii in Å per pair, for example {Al-Ni: {inner: 0.9, outer: 1.8}}: the switch is between "
        "them. Not given: delta switches ZBL off between half the sum of the covalent radii and the whole; core "
        "hands over to ACE at the shortest distance in the data, and never above it.",
    )


class LennardJones(FrozenModel):
    """A Lennard-Jones baseline: ACE learns the difference."""

    kind: Literal["lj"] = "lj"
    mode: Literal["delta"] = Field("delta", description="Lennard-Jones exists only as a difference.")
    cutoff: PositiveFloat = Field(description="Cutoff in Å; the energy is shifted to zero there.")
    mixing: Literal["arithmetic", "geometric"] | None = Field(
        None,
        description="Parameters of unlike pairs that are not given: ε = √(ε₁ε₂) and σ the arithmetic (Lorentz-"
        "Berthelot) or geometric mean. null: all pairs must be given.",
    )
    pairs: Annotated[dict[Pair, LJParameters], BeforeValidator(_named_once)] = Field(
        min_length=1, description="Parameters per pair, for example {Ar-Ar: {epsilon: 0.0104, sigma: 3.4}}."
    )


Reference = Annotated[NoReference | ZBL | LennardJones, Field(discriminator="kind")]


class SettledReference(FrozenModel):
    """A reference potential with all its numbers: what a published potential was made with."""

    kind: Literal["none", "zbl", "lj"] = "none"
    mode: Literal["core", "delta"] | None = None
    baseline: Baseline | None = None  # subtracted from the labels and added to the predictions
    switches: dict[str, SwitchRadii] = {}  # Å, between which ACE hands over to what is below, per pair

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        radii = ", ".join(f"{r.outer:.2f} and {r.inner:.2f} Å ({pair})" for pair, r in self.switches.items())
        joined = "takes over from ACE" if self.mode == "core" else "is added to ACE, which fades out"
        return f"{self.kind} ({self.mode}) {joined} between {radii}"


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


def contact_distance(pair: str) -> float:
    """Sum of the covalent radii of a pair in Å (Cordero et al., Dalton Trans. 2008, 2832)."""
    radii = [float(covalent_radii[atomic_numbers[element]]) for element in pair.split("-")]
    if missing in radii:
        raise ValueError(f"no covalent radius is known for an element of {pair}; give reference.pairs.{pair}")
    return sum(radii)


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
    if isinstance(reference, ZBL):
        for pair in set(known) - set(given):
            contact_distance(pair)


def _usual_radii(pair: str) -> SwitchRadii:
    outer = contact_distance(pair)
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
