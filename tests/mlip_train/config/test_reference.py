from __future__ import annotations

from typing import Any

import pytest
from ase.data import covalent_radii

from mlip_train.atoms.pair_potentials import LennardJonesPotential, LJParameters, SwitchRadii, ZBLPotential
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.reference import ZBL, baseline_of
from mlip_train.errors import ConfigError
from tests.mlip_train.config.parsing import parse as parsed
from tests.mlip_train.config.parsing import refusal

AL = {"epsilon": 0.1, "sigma": 2.5}
NI = {"epsilon": 0.4, "sigma": 2.1}
ARGON = {"epsilon": 0.0104, "sigma": 3.4}
LENNARD_JONES = {"kind": "lj", "cutoff": 8.0, "pairs": {"Ar-Ar": ARGON}}
TAKES_OVER = {"kind": "zbl"}


def parse(reference: Any, elements: tuple[str, ...] = ("Al", "Ni")) -> CampaignConfig:
    return CampaignConfig.parse({"elements": elements, "reference": reference}, "campaign.yaml")


def lj(epsilon: float = 0.1, sigma: float = 2.0, cutoff: float = 5.0) -> dict[str, Any]:
    return {"kind": "lj", "cutoff": cutoff, "pairs": {"Si-Si": {"epsilon": epsilon, "sigma": sigma}}}


def zbl(inner: float, outer: float) -> dict[str, Any]:
    return {"kind": "zbl", "pairs": {"Si-Si": {"inner": inner, "outer": outer}}}


def baseline(reference: dict[str, Any]) -> Any:
    config = parse(reference)
    return baseline_of(config.reference, config.elements)


def test_only_a_difference_has_a_baseline() -> None:
    assert baseline({"kind": "none"}) is None
    assert baseline({"kind": "zbl"}) is None
    assert baseline({"kind": "zbl", "mode": "core", "pairs": {"Al-Ni": {"inner": 1, "outer": 2}}}) is None
    assert isinstance(baseline({"kind": "zbl", "mode": "delta"}), ZBLPotential)


def test_zbl_ends_where_atoms_hardly_come_unless_radii_are_given() -> None:
    found = baseline({"kind": "zbl", "mode": "delta", "pairs": {"Ni-Al": {"inner": 0.7, "outer": 1.4}}})
    touch = 2 * covalent_radii[13]
    assert found.radii["Al-Al"] == SwitchRadii(inner=0.4 * touch, outer=0.8 * touch)
    assert found.radii["Al-Ni"] == SwitchRadii(inner=0.7, outer=1.4)
    assert list(found.radii) == ["Al-Al", "Al-Ni", "Ni-Ni"]


@pytest.mark.parametrize(("mixing", "sigma"), [("arithmetic", 2.3), ("geometric", (2.5 * 2.1) ** 0.5)])
def test_unlike_pairs_are_mixed_when_asked(mixing: str, sigma: float) -> None:
    found = baseline({"kind": "lj", "cutoff": 6, "mixing": mixing, "pairs": {"Al-Al": AL, "Ni-Ni": NI}})
    assert isinstance(found, LennardJonesPotential)
    assert found.parameters["Al-Ni"].epsilon == pytest.approx(0.2)
    assert found.parameters["Al-Ni"].sigma == pytest.approx(sigma)
    assert found.parameters["Al-Al"] == LJParameters(**AL)


def test_a_given_unlike_pair_is_not_mixed() -> None:
    pairs = {"Al-Al": AL, "Ni-Ni": NI, "Ni-Al": {"epsilon": 0.3, "sigma": 2.2}}
    found = baseline({"kind": "lj", "cutoff": 6, "mixing": "geometric", "pairs": pairs})
    assert found.parameters["Al-Ni"] == LJParameters(epsilon=0.3, sigma=2.2)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ({"kind": "lj", "cutoff": 6, "pairs": {"Al-Al": AL, "Ni-Ni": NI}}, "Al-Ni has no parameters"),
        ({"kind": "lj", "cutoff": 6, "mixing": "arithmetic", "pairs": {"Al-Al": AL}}, "Al-Ni has no parameters"),
        ({"kind": "zbl", "pairs": {"Al-Cu": {"inner": 1, "outer": 2}}}, "Al-Cu is not a pair of the elements"),
        ({"kind": "zbl", "pairs": {"Al": {"inner": 1, "outer": 2}}}, "'Al' is not a pair of elements"),
        (
            {"kind": "zbl", "pairs": {"Al-Ni": {"inner": 1, "outer": 2}, "Ni-Al": {"inner": 1, "outer": 3}}},
            "Al-Ni is given twice",
        ),
        ({"kind": "zbl", "pairs": 3}, "should be a valid dictionary"),
        ({"kind": "zbl", "pairs": {False: {"inner": 1, "outer": 2}}}, "should be a valid string"),
    ],
)
def test_a_wrong_pair_is_named(reference: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"reference.pairs.*{told}"):
        parse(reference)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("none", {"kind": "none"}), ("zbl", {"kind": "zbl", "mode": "core"})],
)
def test_a_kind_alone_may_be_written(reference: str, meant: dict[str, Any]) -> None:
    assert parse(reference, ("Si",)) == parse(meant, ("Si",))


def test_a_reference_may_be_an_object() -> None:
    assert parse(ZBL(mode="core"), ("Si",)) == parse("zbl", ("Si",))


@pytest.mark.parametrize("reference", [None, False, [], {"mode": "core"}, 3])
def test_what_is_no_reference_is_told_how_to_write_one(reference: Any) -> None:
    with pytest.raises(ConfigError, match="reference: write none, zbl, or a mapping with a kind"):
        parse(reference, ("Si",))


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (lj(epsilon=101.0), "epsilon: Input should be less than or equal to 100"),
        (lj(sigma=0.4), "sigma: Input should be greater than or equal to 0.5"),
        (lj(sigma=11.0), "sigma: Input should be less than or equal to 10"),
        (lj(cutoff=31.0), "cutoff: Input should be less than or equal to 30"),
        (lj(sigma=2.0, cutoff=2.2), r"cutoff 2.2 Å cuts Si-Si above its minimum at 2\^\(1/6\) sigma = 2.24 Å"),
        (zbl(1.0, 1.04), "Si-Si: outer must be 0.4 Å or more, and 0.05 Å or more above inner"),
        (zbl(0.1, 0.39), "Si-Si: outer must be 0.4 Å or more"),
        (zbl(1.0, 6.1), r"reference.pairs.Si-Si.outer is larger than basis.cutoff = 6 Å"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(reference: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(reference, ("Si",))


@pytest.mark.parametrize("mode", ["core", "delta"])
def test_weights_by_energy_are_weights_by_dft_energy(mode: str) -> None:
    content = {
        "elements": ["Si"],
        "reference": {"kind": "zbl", "mode": mode},
        "fit": {"weighting": {"kind": "energy_based"}},
    }
    if mode == "core":
        CampaignConfig.parse(content, "campaign.yaml")
    else:
        with pytest.raises(ConfigError, match="energy_based would weigh by what is left"):
            CampaignConfig.parse(content, "campaign.yaml")


@pytest.mark.parametrize(
    "reference",
    [
        {**TAKES_OVER, "pairs": {"Ar-Ar": {"inner": 0.0, "outer": 1.0}}},
        {**TAKES_OVER, "pairs": {"Ar-Ar": {"inner": 1.0, "outer": 1.0}}},
        {**TAKES_OVER, "pairs": {"Ar-Ne": {"inner": 0.5, "outer": 1.0}}},
        {**TAKES_OVER, "pairs": {"ArAr": {"inner": 0.5, "outer": 1.0}}},
        {**TAKES_OVER, "pairs": {"Ar-Xy": {"inner": 0.5, "outer": 1.0}}},
        {**LENNARD_JONES, "cutoff": 0.0},
        {**LENNARD_JONES, "pairs": {"Ar-Ar": {**ARGON, "epsilon": 0.0}}},
        {**LENNARD_JONES, "pairs": {"Ar-Ar": {**ARGON, "sigma": 0.0}}},
        {**LENNARD_JONES, "pairs": {}},
        {**LENNARD_JONES, "mode": "core"},
        {**TAKES_OVER, "mode": "outer"},
        {"kind": "morse"},
        {},
    ],
)
def test_an_impossible_reference_potential_is_refused(reference: dict[str, Any]) -> None:
    assert "\n  reference" in refusal(elements=["Ar"], reference=reference)


@pytest.mark.parametrize("reference", [{"kind": "none"}, TAKES_OVER, LENNARD_JONES])
def test_a_reference_potential_keeps_its_kind(reference: dict[str, Any]) -> None:
    assert parsed(elements=["Ar"], reference=reference).reference.kind == reference["kind"]
