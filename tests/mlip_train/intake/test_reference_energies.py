from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlip_train.atoms.structure import Structure
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError
from mlip_train.intake.frame_check import IsolatedAtom
from mlip_train.intake.reference_energies import pin_reference_energies, refuse_changed_energies
from tests.mlip_train.frames import cluster, structure

energies_of_atoms = st.floats(-1e4, 1e4)


def config(reference_energies: Any = "least_squares") -> CampaignConfig:
    return CampaignConfig.parse({"elements": ["C", "Ge", "Si"], "reference_energies": reference_energies}, "test")


def composed(symbols: str, energies: dict[str, float]) -> Structure:
    """A structure whose energy is the sum over its atoms."""
    atoms = cluster(symbols)
    atoms.calc.results["energy"] = sum(energies[symbol] for symbol in atoms.symbols)
    return structure(atoms)


def isolated(element: str, energy: float, frame: int = 0) -> IsolatedAtom:
    return IsolatedAtom(element, energy, "atoms.extxyz", frame)


@given(silicon=energies_of_atoms, germanium=energies_of_atoms)
def test_least_squares_recovers_the_energies_of_the_elements(silicon: float, germanium: float) -> None:
    known = {"Ge": germanium, "Si": silicon}
    batch = [composed(symbols, known) for symbols in ("Si2", "SiGe", "SiGe3", "Ge2")]
    assert pin_reference_energies(config(), {}, batch, []) == pytest.approx(known, rel=1e-9, abs=1e-9)


def test_least_squares_counts_every_structure_per_atom() -> None:
    atoms = [cluster("Si2", energy=-2.0), cluster("Si2", distance=2.3, energy=-2.0), cluster("Si8", energy=-16.0)]
    energies = pin_reference_energies(config(), {}, [structure(one) for one in atoms], [])
    assert energies == {"Si": pytest.approx((-1.0 - 1.0 - 2.0) / 3)}


@given(known=energies_of_atoms, pinned=energies_of_atoms)
def test_a_pinned_energy_never_moves(known: float, pinned: float) -> None:
    batch = [composed("Si2", {"Si": known})]
    assert pin_reference_energies(config(), {"Si": pinned}, batch, []) == {"Si": pinned}


def test_a_new_element_is_pinned_with_the_others_fixed() -> None:
    batch = [composed("SiGe", {"Si": -5.0, "Ge": -3.0})]
    first = pin_reference_energies(config(), {"Si": -4.0}, batch, [])
    assert first == {"Si": -4.0, "Ge": pytest.approx(-4.0)}
    second = pin_reference_energies(config(), first, [composed("SiC", {"Si": -5.0, "C": -9.0})], [])
    assert second == {**first, "C": pytest.approx(-10.0)}


def test_one_composition_is_explained_by_the_smallest_energies() -> None:
    batch = [composed("SiGe", {"Si": -6.0, "Ge": -2.0})] * 2
    assert pin_reference_energies(config(), {}, batch, []) == pytest.approx({"Ge": -4.0, "Si": -4.0})


def test_elements_without_data_are_not_pinned() -> None:
    assert list(pin_reference_energies(config(), {}, [composed("Si2", {"Si": -4.0})], [])) == ["Si"]


def test_a_batch_without_new_elements_changes_nothing() -> None:
    assert pin_reference_energies(config(), {"Si": -4.0}, [], []) == {"Si": -4.0}


def test_isolated_atoms_give_their_energies() -> None:
    batch, atoms = [composed("SiGe", {"Si": -5.0, "Ge": -3.0})], [isolated("Si", -0.8), isolated("Ge", -0.6)]
    energies = pin_reference_energies(config("isolated_atoms"), {}, batch, [*atoms, isolated("Si", -0.8, 7)])
    assert energies == {"Si": -0.8, "Ge": -0.6}


def test_a_missing_isolated_atom_is_named() -> None:
    batch = [composed("SiGeC", {"Si": -5.0, "Ge": -3.0, "C": -9.0})]
    with pytest.raises(ConfigError, match=r"holds no isolated atom of C, Ge; add one DFT result of each"):
        pin_reference_energies(config("isolated_atoms"), {}, batch, [isolated("Si", -0.8)])


def test_a_pinned_element_needs_no_isolated_atom_again() -> None:
    batch = [composed("Si2", {"Si": -5.0})]
    assert pin_reference_energies(config("isolated_atoms"), {"Si": -0.8}, batch, []) == {"Si": -0.8}


def test_contradicting_isolated_atoms_are_named() -> None:
    batch = [composed("Si2", {"Si": -5.0})]
    with pytest.raises(
        ConfigError,
        match=r"atoms.extxyz frame 3: an isolated Si atom with -0.9 eV, but another .* has -0.8 eV; keep the one",
    ):
        pin_reference_energies(
            config("isolated_atoms"), {}, batch, [isolated("Si", -0.8), isolated("Si", -0.9, 3)]
        )


def test_an_isolated_atom_that_contradicts_the_pinned_energy_changes_nothing() -> None:
    batch, atoms = [composed("Si2", {"Si": -5.0})], [isolated("Si", -99.0)]
    assert pin_reference_energies(config("isolated_atoms"), {"Si": -0.8}, batch, atoms) == {"Si": -0.8}


def test_explicit_energies_are_taken_for_what_is_present() -> None:
    explicit = config({"C": -9.0, "Ge": -3.0, "Si": -5.0})
    assert pin_reference_energies(explicit, {}, [composed("SiC", {"Si": 0, "C": 0})], []) == {
        "C": -9.0,
        "Si": -5.0,
    }


def test_explicit_energies_changed_after_pinning_are_refused() -> None:
    explicit = config({"C": -9.0, "Ge": -3.0, "Si": -5.0})
    refuse_changed_energies(explicit, {"Si": -5.0, "C": -9.0})
    with pytest.raises(
        ConfigError,
        match=r"reference_energies.Si is -5.0 eV, but this campaign pinned -4.0 eV .*; set it back, or",
    ):
        refuse_changed_energies(explicit, {"Si": -4.0})


@pytest.mark.parametrize("mode", ["least_squares", "isolated_atoms"])
def test_a_rule_cannot_contradict_what_was_pinned(mode: str) -> None:
    refuse_changed_energies(config(mode), {"Si": -4.0})


@pytest.mark.parametrize("mode", ["least_squares", "isolated_atoms"])
def test_what_was_pinned_outlives_a_change_of_the_rule(mode: str) -> None:
    pinned = {"Si": -4.0}
    energies = pin_reference_energies(
        config(mode), pinned, [composed("Si3", {"Si": -5.0})], [isolated("Si", -0.8)]
    )
    assert energies == pinned
    assert pinned == {"Si": -4.0}


def test_pinned_energies_are_plain_floats() -> None:
    energies = pin_reference_energies(config(), {}, [composed("Si2", {"Si": np.float64(-4.0)})], [])
    assert {type(value) for value in energies.values()} == {float}
