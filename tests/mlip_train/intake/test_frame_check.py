from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlip_train.atoms.structure import Structure
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.intake.frame_check import FrameRules, IsolatedAtom, frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.records.refusal import Refusal
from tests.mlip_train.frames import SILICON_ONLY, check, cluster, crystal, reason, structure, with_results

STRESS = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]


def test_the_rules_are_those_of_the_configuration() -> None:
    content = {
        "elements": ["Si"],
        "basis": {"cutoff": 4},
        "checks": {"min_distance": 1, "max_force": 30},
        "reference_energies": "isolated_atoms",
    }
    assert frame_rules(CampaignConfig.model_validate(content)) == FrameRules(
        elements=("Si",),
        cutoff=4.0,
        min_distance=1.0,
        max_force=30.0,
        use_isolated_atoms=True,
        weight="weight",
        atom_weights="weights",
    )


def test_real_silicon_passes_unchanged(silicon: list[Atoms]) -> None:
    atoms = silicon[0]
    stored = structure(atoms)
    np.testing.assert_array_equal(stored.numbers, atoms.numbers)
    np.testing.assert_array_equal(stored.positions, atoms.positions)
    np.testing.assert_array_equal(stored.cell, atoms.cell)
    np.testing.assert_array_equal(stored.forces, atoms.calc.results["forces"])
    assert stored.energy == atoms.calc.results["energy"]
    assert stored.symbols == ["Si"] * 63
    assert stored.to_atoms() == Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"energy": None}, "it has no energy; add the results"),
        ({"forces": None}, "it has no forces; add the results"),
        ({"energy": np.nan}, "its energy is nan"),
        ({"energy": np.inf}, "its energy is inf"),
        ({"free_energy": np.nan}, "its energy is nan"),
        ({"forces": [[0, 0, 0], [0, 0, np.nan]]}, "the force on atom 1 is not finite"),
        ({"forces": [[0, -np.inf, 0], [0, 0, 0]]}, "the force on atom 0 is not finite"),
        ({"forces": [[0, 0, 0]]}, "its forces have shape (1, 3); expected (2, 3)"),
        ({"forces": np.zeros(6)}, "its forces have shape (6,); expected (2, 3)"),
        ({"forces": "high"}, "are not plain numbers"),
        ({"forces": [[0], [1, 2, 3]]}, "are not plain numbers"),
        ({"stress": [1, 2, 3]}, "its stress has shape (3,); expected 6 Voigt components or a 3x3 tensor"),
        ({"stress": [0, 0, 0, 0, 0, np.nan]}, "its stress is not finite"),
        ({"stress": np.full((3, 3), np.inf)}, "its stress is not finite"),
        ({"stress": "high"}, "are not plain numbers"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(results: dict[str, Any], expected: str) -> None:
    assert expected in reason(crystal(**results))


@pytest.mark.parametrize("energy", ["n/a", "1d0", [-1.0, -2.0], np.array([-1.0, -2.0, -3.0]), 1j, {}])
def test_an_energy_that_is_not_one_number_is_refused(energy: Any) -> None:
    assert "energy" in reason(crystal(energy=energy))


def test_an_energy_that_no_atom_can_have_is_refused() -> None:
    assert "are the units eV?" in reason(crystal(energy=-3e6))


def test_an_absent_free_energy_leaves_the_energy() -> None:
    assert structure(crystal(energy=-10.0, free_energy=None)).energy == -10.0


def test_a_frame_without_results_is_refused() -> None:
    atoms = crystal()
    atoms.calc = None
    assert "it has no energy; add the results of a finished DFT calculation" in reason(atoms)


def test_the_force_consistent_energy_is_preferred() -> None:
    assert structure(crystal(energy=-10.0, free_energy=-10.5)).energy == -10.5


@pytest.mark.parametrize("name", ["REF_energy", "dft_energy", "DFT_Energy"])
def test_an_energy_under_another_name_is_pointed_out(name: str) -> None:
    atoms = crystal(energy=None)
    atoms.info[name] = -10.0
    assert f"'energy', only {name}; rename it to 'energy' in the file" in reason(atoms)


def test_forces_under_another_name_are_pointed_out() -> None:
    atoms = crystal(forces=None)
    atoms.arrays["REF_forces"] = np.zeros((2, 3))
    assert "'forces', only REF_forces; rename it to 'forces'" in reason(atoms)


def test_the_largest_force_is_named_with_atom_and_limit() -> None:
    fast = crystal(forces=[[0, 0, 0], [0, 80, 80]])
    assert reason(fast) == "the force on atom 1 is 113.1 eV/Å, above checks.max_force = 100"
    assert isinstance(check(fast, max_force=114.0), Structure)


def test_forces_of_fixed_atoms_are_kept() -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 1]))
    np.testing.assert_array_equal(structure(atoms).forces, [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])


def test_a_stress_tensor_becomes_voigt_components() -> None:
    np.testing.assert_array_equal(structure(crystal(stress=STRESS)).stress, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(structure(crystal(stress=[1, 2, 3, 4, 5, 6])).stress, [1, 2, 3, 4, 5, 6])
    assert structure(crystal()).stress is None


@pytest.mark.parametrize("converged", [True, None])
def test_what_is_not_known_to_be_unconverged_passes(converged: bool | None) -> None:
    assert isinstance(check(crystal(), converged=converged), Structure)


def test_an_unconverged_frame_is_refused_with_its_source() -> None:
    refusal = check(crystal(), converged=False)
    assert isinstance(refusal, Refusal)
    assert "did not converge; finish it, then add the file again" in refusal.reason
    assert (refusal.source, refusal.frame) == ("run/OUTCAR", 3)


def test_a_foreign_element_is_named_with_the_expected_ones() -> None:
    assert reason(crystal("SiGe"), elements=("C", "Si")) == (
        "it contains Ge, but the campaign's elements are C, Si"
    )


@pytest.mark.parametrize("number", [0, -1, -14, 119, 200])
def test_numbers_of_no_element_are_refused(number: int) -> None:
    atoms = crystal()
    atoms.numbers[1] = number
    assert "element" in reason(atoms, elements=None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["positions", "cell"])
def test_geometry_that_is_not_finite_is_refused(value: float, where: str) -> None:
    atoms = crystal()
    getattr(atoms, where)[1, 1] = value
    assert reason(atoms) == "positions or cell are not finite numbers; correct or remove the frame"


def test_a_frame_without_atoms_is_refused() -> None:
    nothing = with_results(Atoms(), energy=0.0, forces=np.zeros((0, 3)))
    assert reason(nothing) == "it contains no atoms; remove the frame"


@pytest.mark.parametrize(
    ("pbc", "directions"),
    [((True, True, False), "a, b"), ((False, False, True), "c"), ((True, False, True), "a, c")],
)
def test_slabs_are_refused_with_the_remedy(pbc: tuple[bool, bool, bool], directions: str) -> None:
    atoms = crystal()
    atoms.pbc = pbc
    assert f"periodic along {directions} only" in reason(atoms)
    assert "set pbc to 'T T T' with vacuum in the cell" in reason(atoms)


@pytest.mark.parametrize("cell", [[0, 0, 0], [5, 5, 0], [[5, 0, 0], [5, 0, 0], [0, 0, 5]]])
def test_a_periodic_cell_without_volume_is_refused(cell: Any) -> None:
    atoms = cluster()
    atoms.cell = cell
    atoms.pbc = True
    assert reason(atoms) == "its periodic cell has a volume of 0 Å³; give three lattice vectors"


@pytest.mark.parametrize("cell", [[1e-9, 5e4, 5e4], [1.2e4, 3, 3], [0.2, 10, 10]])
def test_an_absurd_cell_is_refused(cell: list[float]) -> None:
    atoms = with_results(Atoms("Si", cell=cell, pbc=True), energy=-5.0, forces=np.zeros((1, 3)))
    assert "its periodic cell is up to" in reason(atoms, min_distance=1e-12)


def test_a_cell_too_large_to_be_searched_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matscipy.neighbours.neighbour_list", lambda *_: pytest.fail("it would take 50 GB"))
    atoms = with_results(Atoms("Si2", [[0, 0, 0], [2, 0, 0]]), energy=-5.0, forces=np.zeros((2, 3)))
    atoms.cell, atoms.pbc = [9e3] * 3, True
    assert isinstance(check(atoms), Refusal)


@pytest.mark.parametrize("far", [1e20, 1e300])
def test_positions_too_far_out_to_be_resolved_are_refused(far: float) -> None:
    atoms = crystal()
    atoms.positions[1, 0] = far
    assert isinstance(check(atoms), Refusal)


def test_a_left_handed_cell_is_as_good_as_any() -> None:
    atoms = crystal()
    atoms.cell = atoms.cell[[1, 0, 2]]
    assert isinstance(check(atoms), Structure)


@pytest.mark.parametrize("distance", [0.0, 0.3])
@pytest.mark.parametrize("periodic", [True, False])
def test_atoms_too_close_are_named_with_distance_and_limit(distance: float, periodic: bool) -> None:
    atoms = cluster("Si3")
    atoms.positions[2] = atoms.positions[1] + [0, distance, 0]
    if periodic:
        atoms.cell, atoms.pbc = [12.0] * 3, True
    assert reason(atoms) == (
        f"atom 1 is {distance:.3f} Å from its neighbour, closer than checks.min_distance = 0.5 Å"
    )


def test_atoms_too_close_across_the_boundary_are_refused() -> None:
    atoms = crystal()
    atoms.positions[1] = atoms.cell.sum(axis=0) - 0.1
    assert "atom 0 is 0.173 Å from its neighbour" in reason(atoms)


def test_an_atom_too_close_to_its_own_image_is_refused() -> None:
    atoms = with_results(Atoms("Si", cell=[0.4, 8, 8], pbc=True), energy=-5.0, forces=np.zeros((1, 3)))
    assert "atom 0 is 0.400 Å from its neighbour" in reason(atoms)
    assert isinstance(check(atoms, min_distance=0.3), Structure)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("n_others", [0, 2])
def test_a_lonely_atom_is_refused_even_among_others(periodic: bool, n_others: int) -> None:
    atoms = cluster(f"Si{n_others + 1}")
    atoms.positions[-1] += [0, 9, 0]
    if periodic:
        atoms.cell, atoms.pbc = [20.0] * 3, True
    expected = f"atom {n_others} has no neighbour within the cutoff of 5.5 Å"
    assert reason(atoms).startswith(expected)
    assert "Remove it" in reason(atoms)
    assert isinstance(check(atoms, cutoff=12.0), Structure) == (n_others > 0)


@pytest.mark.parametrize("cell", [None, [15.0] * 3])
def test_an_isolated_atom_is_a_reference_only_where_asked_for(cell: list[float] | None) -> None:
    atoms = with_results(Atoms("Si", cell=cell, pbc=cell is not None), energy=-0.8, forces=np.zeros((1, 3)))
    assert check(atoms, use_isolated_atoms=True) == IsolatedAtom("Si", -0.8, "run/OUTCAR", 3)
    assert "reference_energies: isolated_atoms" in reason(atoms)


def test_one_atom_in_a_small_cell_is_no_isolated_atom() -> None:
    atoms = with_results(Atoms("Si", cell=[3.0] * 3, pbc=True), energy=-5.0, forces=np.zeros((1, 3)))
    assert isinstance(check(atoms, use_isolated_atoms=True), Structure)


def test_an_isolated_atom_must_be_converged_too() -> None:
    assert isinstance(check(cluster("Si"), converged=False, use_isolated_atoms=True), Refusal)


def test_the_config_type_comes_from_the_frame() -> None:
    atoms = crystal()
    assert structure(atoms).config_type == "unspecified"
    atoms.info["config_type"] = "liquid"
    assert structure(atoms).config_type == "liquid"


def test_the_config_type_comes_from_an_ase_database(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "results.db") as database:
        database.write(crystal(), config_type="liquid")
    assert read_batch([tmp_path], SILICON_ONLY).structures[0].config_type == "liquid"


def test_a_config_type_is_text_that_can_be_stored() -> None:
    atoms = crystal()
    atoms.info["config_type"] = "a\ud800"
    assert structure(atoms).config_type == "a\\ud800"


@pytest.mark.parametrize("columns", ["text", None, 3])
def test_a_frame_may_use_the_name_of_the_database_columns_otherwise(columns: Any) -> None:
    atoms = crystal()
    atoms.info["key_value_pairs"] = columns
    assert structure(atoms).config_type == "unspecified"


anything = (
    st.none() | st.floats() | st.text(max_size=3) | st.lists(st.floats(), max_size=3) | st.complex_numbers()
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2) | st.booleans()
    | arrays(float, st.sampled_from([(2,), (6,), (1, 3), (2, 3), (3, 3)]))
)  # fmt: skip
coordinates = st.floats(-20, 20) | st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e6])


@st.composite
def junk_frames(draw: st.DrawFn) -> Atoms:
    atoms = draw(st.sampled_from([crystal(), cluster("Si3"), cluster("Si"), crystal("HOg", a=4.0)])).copy()
    n_atoms = len(atoms)
    with_results(atoms, energy=-5.0, forces=np.zeros((n_atoms, 3)))
    spoil = draw(st.sets(st.sampled_from(["numbers", "positions", "cell", "pbc", "info", "results", "atoms"])))
    if "numbers" in spoil:
        atoms.numbers[:] = draw(st.lists(st.integers(-130, 130), min_size=n_atoms, max_size=n_atoms))
    if "positions" in spoil:
        atoms.positions[0] = draw(arrays(float, 3, elements=coordinates))
    if "cell" in spoil:
        atoms.cell = draw(arrays(float, (3, 3), elements=coordinates))
    if "pbc" in spoil:
        atoms.pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    if "info" in spoil:
        atoms.info[draw(st.sampled_from(["config_type", "converged", "key_value_pairs", 3]))] = draw(anything)
    if "results" in spoil:
        atoms.calc.results[draw(st.sampled_from(["energy", "free_energy", "forces", "stress"]))] = draw(anything)
    if "atoms" in spoil:
        atoms = with_results(Atoms(), energy=0.0, forces=np.zeros((0, 3)))
    return atoms


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=120)
@given(junk_frames(), st.booleans(), st.sampled_from([True, False, None]))
def test_the_check_never_raises(atoms: Atoms, isolated: bool, converged: bool | None) -> None:
    outcome = check(atoms, converged=converged, elements=None, use_isolated_atoms=isolated)
    assert isinstance(outcome, (Structure, IsolatedAtom, Refusal))
    if isinstance(outcome, Refusal):
        assert outcome.reason
    if isinstance(outcome, Structure):
        assert np.isfinite(outcome.energy)
        assert np.isfinite(outcome.forces).all()
        assert outcome.forces.shape == outcome.positions.shape


def test_weights_of_a_frame_and_its_atoms_are_stored() -> None:
    atoms = crystal()
    atoms.info["weight"], atoms.arrays["weights"] = 2.5, np.array([0.0, 1.0])
    stored = check(atoms, weight="weight", atom_weights="weights")
    assert isinstance(stored, Structure)
    assert stored.weight == 2.5
    assert stored.atom_weights is not None
    assert stored.atom_weights.tolist() == [0.0, 1.0]
    other = check(atoms, weight=None, atom_weights=None)
    assert isinstance(other, Structure)
    assert (other.weight, other.atom_weights) == (1.0, None)


@pytest.mark.parametrize(
    ("info", "arrays", "said"),
    [
        (-1.0, None, "its weight 'weight' is -1; expected 0 (leaves out) to 1e+06"),
        (float("nan"), None, "its weight 'weight' is nan"),
        (float("inf"), None, "its weight 'weight' is inf"),
        ("much", None, "are not numbers"),
        ([1, 2], None, "are not numbers"),
        (1.0, [1.0, -0.5], "the weight of atom 1 in 'weights' is -0.5"),
        (1.0, [float("nan"), 1.0], "the weight of atom 0 in 'weights' is nan"),
        (1.0, [1.0, float("inf")], "the weight of atom 1 in 'weights' is inf"),
        (1e308, None, "its weight 'weight' is 1e+308"),
        (1.0, [[1.0], [1.0]], "its weights 'weights' have shape (2, 1), not (2,)"),
        (1.0, ["a", "b"], "are not numbers"),
    ],
)
def test_what_is_no_weight_is_refused(info: Any, arrays: Any, said: str) -> None:
    atoms = crystal()
    atoms.info["weight"] = info
    if arrays is not None:
        atoms.arrays["weights"] = np.array(arrays)
    assert said in reason(atoms, weight="weight", atom_weights="weights")
