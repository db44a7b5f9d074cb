from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from pyace.preparedata import EnergyBasedWeightingPolicy, UniformWeightingPolicy

from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.atoms.structure import Structure
from mlip_train.config.fit import EnergyBasedWeighting, UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.input_yaml import energy_based_policy
from mlip_train.pacemaker.weights import labelled
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.frames import with_results

ENERGIES = {"Al": -0.1, "Ni": 0.2}
COHESIVE = EnergyBasedWeighting(
    energy_zero="cohesive", low_window=0.1, upper_limit=0.4, low_share=0.6, energy_offset=0.7, force_offset=1.3
)
HULL = EnergyBasedWeighting(low_window=0.3, upper_limit=5.0)


def structures_of(*sizes: int) -> list[Structure]:
    """Cells of different size, so that atoms and structures count differently."""
    return checked([repeated(atoms, n) for atoms, n in zip(aluminium_nickel(len(sizes)), sizes, strict=True)])


def repeated(atoms: Atoms, n: int) -> Atoms:
    results = atoms.calc.results
    forces = np.tile(results["forces"], (n, 1))
    return with_results(atoms.repeat((n, 1, 1)), energy=n * results["energy"], forces=forces)


def by_the_engine(policy: Any, structures: list[Structure]) -> pd.DataFrame:
    """What the engine's own class makes of the data as the engine holds them."""
    rows = []
    for s in structures:
        corrected = s.energy - sum(ENERGIES[symbol] for symbol in s.symbols)
        rows.append(
            {
                "name": s.structure_id,
                "ase_atoms": s.to_atoms(),
                "NUMBER_OF_ATOMS": len(s.numbers),
                "energy_corrected": corrected,
                "energy_corrected_per_atom": corrected / len(s.numbers),
                "forces": s.forces,
                "pbc": True,
            }
        )
    return policy.generate_weights(pd.DataFrame(rows)).set_index("name")


def ours(structures: list[Structure], weighting: Any, seed: int = 3) -> list[LabelledStructure]:
    return list(labelled(lambda: structures, structures, ENERGIES, weighting, seed))


@pytest.mark.parametrize("weighting", [UniformWeighting(), COHESIVE, HULL], ids=["uniform", "cohesive", "hull"])
def test_weights_are_those_of_the_engines_own_classes(weighting: Any) -> None:
    structures = structures_of(*[1, 2, 3] * 5, 1)
    if weighting.kind == "uniform":
        policy = UniformWeightingPolicy()
    else:
        policy = EnergyBasedWeightingPolicy(
            **{key: value for key, value in energy_based_policy(weighting, 3).items() if key != "type"}
        )
    expected = by_the_engine(policy, structures)

    found = ours(structures, weighting)

    assert {row.structure.structure_id for row in found} == set(expected.index)
    for row in found:
        theirs = expected.loc[row.structure.structure_id]
        assert row.energy_weight == pytest.approx(theirs["w_energy"], rel=1e-12)
        assert row.force_weights == pytest.approx(np.asarray(theirs["w_forces"]), rel=1e-12)
        assert row.energy == pytest.approx(theirs["energy_corrected"], rel=1e-12)


@pytest.mark.parametrize("weighting", [UniformWeighting(), COHESIVE, HULL], ids=["uniform", "cohesive", "hull"])
def test_each_kind_of_weight_sums_to_one(weighting: Any) -> None:
    rows = ours(structures_of(1, 2, 3, 1, 1, 2, 2, 1), weighting)
    assert sum(row.energy_weight for row in rows) == pytest.approx(1)
    assert sum(row.force_weights.sum() for row in rows) == pytest.approx(1)


def test_structures_too_high_in_energy_are_left_out_as_by_the_engine() -> None:
    structures = structures_of(*[1] * 16)
    kept = {row.structure.structure_id for row in ours(structures, COHESIVE)}
    lowest = min(energies := [(s.energy + 0.1 * 4) / 4 for s in structures])
    assert 0 < len(kept) < len(structures)
    assert max(energies) - lowest > COHESIVE.upper_limit


def test_the_global_random_state_and_logging_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    np.random.seed(11)
    expected = np.random.random(3)
    np.random.seed(11)
    with caplog.at_level("INFO"):
        ours(checked(aluminium(6)), COHESIVE)
    assert np.random.random(3) == pytest.approx(expected)
    assert caplog.text == ""


def test_the_same_seed_gives_the_same_weights() -> None:
    structures = checked(aluminium_nickel(8))
    one, other = ours(structures, COHESIVE, seed=5), ours(structures, COHESIVE, seed=5)
    assert [row.energy_weight for row in one] == [row.energy_weight for row in other]


def test_what_the_policy_cannot_weigh_is_told_with_a_way_out() -> None:
    with pytest.raises(TrainingFailedError, match=r"fit\.weighting: .*; set kind: uniform"):
        ours([], COHESIVE)


def test_nothing_has_no_weights() -> None:
    assert ours([], UniformWeighting()) == []


def weighed(structures: list[Structure], by_type: dict[str, float], weighting: Any) -> list[LabelledStructure]:
    return list(labelled(lambda: structures, structures, ENERGIES, weighting, 3, by_type))


@pytest.mark.parametrize("weighting", [UniformWeighting(), COHESIVE], ids=["uniform", "energy based"])
def test_weights_of_types_structures_and_atoms_are_multiplied(weighting: Any) -> None:
    plain = structures_of(1, 2, 1, 1, 2, 3, 1, 1)
    structures = [replace(s, config_type="abc"[i % 3]) for i, s in enumerate(plain)]
    structures[0] = replace(structures[0], weight=3.0, atom_weights=np.array([0.0, 1.0, 2.0, 0.5]))
    structures[1] = replace(structures[1], weight=0.0)
    counting = [old for old, new in zip(plain, structures, strict=True) if new.weight and new.config_type != "c"]
    before = {row.structure.structure_id: row for row in weighed(counting, {}, weighting)}

    found = {row.structure.structure_id: row for row in weighed(structures, {"a": 2.0, "c": 0.0}, weighting)}

    assert set(found) == set(before)
    for kind in ("energy_weight", "force_weights"):
        assert sum(np.sum(getattr(row, kind)) for row in found.values()) == pytest.approx(1)
    other = structures[4].structure_id  # of type b, the weight 1
    for structure in structures:
        if (name := structure.structure_id) in found:
            often = (2.0 if structure.config_type == "a" else 1.0) * structure.weight
            ratio = before[name].energy_weight / before[other].energy_weight
            assert found[name].energy_weight == pytest.approx(often * ratio * found[other].energy_weight)
            of_atoms = (
                np.ones(len(structure.numbers)) if structure.atom_weights is None else structure.atom_weights
            )
            theirs = before[name].force_weights / before[other].force_weights[0]
            expected = often * of_atoms * theirs * found[other].force_weights[0]
            assert found[name].force_weights == pytest.approx(expected)


def test_stress_counts_where_it_is_and_where_there_is_a_volume() -> None:
    one, two, three = structures_of(1, 1, 2)
    stress = np.arange(6) * 0.01
    rows = ours([replace(one, stress=stress), two, replace(three, stress=stress)], UniformWeighting())
    assert [row.stress_weight for row in rows] == pytest.approx([0.5, 0.0, 0.5])
    open_space = replace(one, stress=stress, pbc=np.zeros(3, bool))
    assert ours([open_space], UniformWeighting())[0].stress_weight == 0.0


def test_weights_that_are_all_zero_leave_nothing() -> None:
    structures = [replace(one, weight=0.0) for one in structures_of(1, 1)]
    assert ours(structures, UniformWeighting()) == []


def test_what_has_no_weight_does_not_say_what_is_low_in_energy() -> None:
    structures = structures_of(*[1] * 8)
    wrong = replace(structures[0], energy=-500.0, weight=0.0)
    assert len(ours([wrong, *structures[1:]], COHESIVE)) == len(ours(structures[1:], COHESIVE)) > 0
