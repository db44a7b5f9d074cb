from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.warm_start import (
    differences,
    grow,
    has_idle_density,
    prepare_start,
    seed_second_density,
    write_target,
)
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.pacemaker.input_yaml import basis_section
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.bbasis import config_of, predictions, tune, write_random
from tests.mlip_train.coefficients import first_density

SMALL = {"functions_per_element": 8, "nradmax_by_orders": [4, 3], "lmax_by_orders": [0, 2]}


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A trained potential of aluminium, as far as anyone can tell."""
    return write_random(tmp_path / "parent.yaml", config_of(["Al"], **SMALL))


def target_of(tmp_path: Path, config: CampaignConfig) -> Path:
    write_target(basis_section(config), tmp_path / "target.yaml")
    return tmp_path / "target.yaml"


def n_functions(bbasis: Path) -> int:
    return int(load_bbasis(bbasis).total_number_of_functions)


@pytest.mark.parametrize(
    "larger",
    [
        {"functions_per_element": 20},
        {"functions_per_element": 40, "nradmax_by_orders": [4, 4]},
        {"functions_per_element": 40, "nradmax_by_orders": [7, 3]},
        {"functions_per_element": 40, "lmax_by_orders": [0, 4]},
        {"functions_per_element": 60, "nradmax_by_orders": [6, 4, 2], "lmax_by_orders": [0, 4, 1]},
    ],
    ids=["functions", "nradmax", "nradbase", "lmax", "all"],
)
def test_a_grown_potential_predicts_what_its_parent_did(
    tmp_path: Path, parent: Path, larger: dict[str, Any]
) -> None:
    target, start = target_of(tmp_path, config_of(["Al"], **SMALL | larger)), tmp_path / "start.yaml"
    structures = checked(aluminium(6))

    n_new, n_lost = grow(parent, target, start)

    assert differences(parent, target) == []
    assert n_lost == 0
    assert n_new == n_functions(target) - n_functions(parent) > 0
    assert n_functions(start) == n_functions(target)
    for before, after in zip(predictions(parent, structures), predictions(start, structures), strict=True):
        assert np.abs(before).max() > 0.01
        assert np.allclose(after, before, rtol=0, atol=1e-10)


def test_a_new_element_leaves_what_is_known_of_the_old_one(tmp_path: Path, parent: Path) -> None:
    config = config_of(["Al", "Ni"], **SMALL | {"functions_per_element": 30})
    target, start = target_of(tmp_path, config), tmp_path / "start.yaml"
    n_new, n_lost = grow(parent, target, start)
    structures = checked(aluminium(6))
    assert (n_lost, n_new) == (0, n_functions(target) - n_functions(parent))
    for before, after in zip(predictions(parent, structures), predictions(start, structures), strict=True):
        assert np.allclose(after, before, rtol=0, atol=1e-10)


def test_a_two_element_potential_grows_too(tmp_path: Path) -> None:
    parent = write_random(tmp_path / "parent.yaml", config_of(["Al", "Ni"], **SMALL))
    larger = config_of(["Al", "Ni"], **SMALL | {"functions_per_element": 24, "nradmax_by_orders": [5, 3]})
    n_new, n_lost = grow(parent, target_of(tmp_path, larger), tmp_path / "start.yaml")
    structures = checked(aluminium_nickel(8))
    assert n_new > 0
    assert n_lost == 0
    for before, after in zip(
        predictions(parent, structures), predictions(tmp_path / "start.yaml", structures), strict=True
    ):
        assert np.allclose(after, before, rtol=0, atol=1e-10)


def test_functions_that_the_target_lacks_are_counted_as_lost(tmp_path: Path, parent: Path) -> None:
    smaller = target_of(tmp_path, config_of(["Al"], **SMALL | {"functions_per_element": 5}))
    n_new, n_lost = grow(parent, smaller, tmp_path / "start.yaml")
    assert (n_new, n_lost) == (0, n_functions(parent) - n_functions(smaller))
    assert n_lost > 0
    kept = set(first_density(tmp_path / "start.yaml").round(12))
    assert kept <= set(first_density(parent).round(12))


def test_the_same_basis_grows_by_nothing_and_loses_nothing(tmp_path: Path, parent: Path) -> None:
    target = target_of(tmp_path, config_of(["Al"], **SMALL))
    assert grow(parent, target, target) == (0, 0)
    assert np.array_equal(load_bbasis(target).get_all_coeffs(), load_bbasis(parent).get_all_coeffs())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cutoff": 4.6}, ["cutoff"]),
        ({"radial_basis": "ChebExpCos"}, ["radial basis"]),
        ({"radial_parameters": [3.0]}, ["radial parameters"]),
        ({"embedding": "linear"}, ["embedding"]),
        ({"nradmax_by_orders": [3, 3]}, ["number of radial functions of Al (smaller now)"]),
        ({"cutoff": 5.0, "embedding": "linear"}, ["cutoff", "embedding"]),
        ({"functions_per_element": 5}, []),
        ({}, []),
    ],
)
def test_what_makes_coefficients_meaningless_is_named(
    tmp_path: Path, parent: Path, changed: dict[str, Any], told: list[str]
) -> None:
    assert differences(parent, target_of(tmp_path, config_of(["Al"], **SMALL | changed))) == told


def test_a_changed_cutoff_of_one_bond_is_noticed(tmp_path: Path) -> None:
    values = config_of(["Al", "Ni"], **SMALL).model_dump()
    extra = {"potential": {"bonds": {"AlNi": {"rcut": 4.0}}}}
    other = CampaignConfig.model_validate(values | {"extra": extra})
    parent = write_random(tmp_path / "parent.yaml", config_of(["Al", "Ni"], **SMALL))
    assert differences(parent, target_of(tmp_path, other)) == ["cutoff"]


@pytest.mark.parametrize("by", ["continuing", "growing"])
def test_a_start_has_neither_a_core_repulsion_nor_the_marks_of_a_finished_fit(
    tmp_path: Path, parent: Path, by: str
) -> None:
    tune(
        parent, r_in=1.9, delta_in=0.1, inner_cutoff_type="zbl", core_rep_parameters=[1.0, 1.0],
        rho_cut=9.0, drho_cut=2.0,
    )  # fmt: skip
    configuration = load_bbasis(parent)
    for key, value in {"_fit_cycles": "1", "_loss": "0.5", "reference_energy": "{}"}.items():
        configuration.metadata[key] = value
    configuration.save(str(parent))
    start = tmp_path / "start.yaml"

    if by == "continuing":
        prepare_start(parent, start)
    else:
        grow(parent, target_of(tmp_path, config_of(["Al"], **SMALL | {"functions_per_element": 9})), start)

    prepared = load_bbasis(start)
    assert set(prepared.metadata.keys()) >= {"reference_energy"}
    assert not {"_fit_cycles", "_loss"} & set(prepared.metadata.keys())
    for block in prepared.funcspecs_blocks:
        assert (block.r_in, block.delta_in, list(block.core_rep_parameters)) == (0, 0, [0, 0])
        assert block.inner_cutoff_type == "distance"
        assert (block.rho_cut, block.drho_cut) == (1e5, 250)


def coefficients(bbasis: Path) -> list[list[float]]:
    """Of all densities, function by function."""
    return [list(f.coeffs) for block in load_bbasis(bbasis).funcspecs_blocks for f in block.funcspecs]


def set_second_density(bbasis: Path, value: float) -> None:
    configuration = load_bbasis(bbasis)
    blocks = configuration.funcspecs_blocks
    for block in blocks:
        functions = block.funcspecs
        for function in functions:
            function.coeffs = [function.coeffs[0], value]
        block.funcspecs = functions
    configuration.funcspecs_blocks = blocks
    configuration.save(str(bbasis))


def test_a_density_is_idle_when_all_of_it_is_zero_and_not_the_only_one(tmp_path: Path, parent: Path) -> None:
    assert not has_idle_density(parent)
    set_second_density(parent, 0.0)
    assert has_idle_density(parent)
    assert has_idle_density(target_of(tmp_path, config_of(["Al"], **SMALL)))
    assert not has_idle_density(target_of(tmp_path, config_of(["Al"], **SMALL, embedding="linear")))


@pytest.mark.parametrize("elements", [["Al"], ["Al", "Ni"]])
def test_a_seeded_second_density_has_the_coefficients_that_the_first_had(
    tmp_path: Path, elements: list[str]
) -> None:
    bbasis = write_random(tmp_path / "p.yaml", config_of(elements, **SMALL))
    set_second_density(bbasis, 0.0)
    configuration = load_bbasis(bbasis)
    configuration.metadata["who"] = "me"
    configuration.save(str(bbasis))
    before = coefficients(bbasis)

    seed_second_density(bbasis)

    assert coefficients(bbasis) == [[0.0, first] for first, _ in before]
    assert not has_idle_density(bbasis)
    assert load_bbasis(bbasis).metadata["who"] == "me"
