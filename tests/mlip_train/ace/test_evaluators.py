from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlip_train.ace.evaluators import CompiledEvaluator, EngineEvaluator, lacking
from mlip_train.ace.kernel import add_rows, compiled, is_compiled
from mlip_train.ace.library import ACEBBasisSet, BBasisConfiguration, create_multispecies_basis_config
from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from mlip_train.errors import EngineError
from mlip_train.pacemaker.input_yaml import basis_section
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.bbasis import config_of, tune, write_random

ELEMENTS = ["Al", "C", "Ni", "Si"]
RADIALS = {"SBessel": [5.25], "ChebExpCos": [5.25], "ChebPow": [2.0]}
ORDERS = [
    ([3], [0]),
    ([4, 3], [0, 4]),
    ([4, 2, 2], [0, 3, 2]),
    ([3, 2, 2, 1], [0, 2, 2, 2]),
    ([2, 1, 1, 1, 1], [0, 2, 1, 1, 2]),
    ([2, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]),
]


@st.composite
def bases(draw: st.DrawFn) -> dict[str, Any]:
    """A basis of one to four elements with radial coefficients at random, and settings of single bonds."""
    elements = ELEMENTS[: draw(st.integers(1, 4))]
    # of more elements the engine's table of couplings holds less
    nradmax, lmax = draw(st.sampled_from(ORDERS[: (6, 4, 4, 3)[len(elements) - 1]]))
    radial = draw(st.sampled_from(sorted(RADIALS)))
    bonds = {}
    if len(elements) > 1 and draw(st.booleans()):
        pair = elements[0] + elements[1]
        bonds = {pair: {"rcut": draw(st.floats(2.5, 4.0)), "dcut": draw(st.sampled_from([0.01, 0.5]))}}
    return {
        "elements": elements,
        "embedding": draw(st.sampled_from(["linear", "finnis_sinclair"])),
        "cutoff": draw(st.floats(3.6, 4.6)),
        "nradmax_by_orders": nradmax,
        "lmax_by_orders": lmax,
        "functions_per_element": 40,
        "radial_basis": radial,
        "radial_parameters": RADIALS[radial],
        "bonds": bonds,
        "seed": draw(st.integers(0, 9)),
    }


@st.composite
def surroundings(draw: st.DrawFn) -> tuple[int, int, bool]:
    """Number of atoms, a seed for where they are, and whether they are periodic."""
    return draw(st.sampled_from([1, 2, 3, 7, 9])), draw(st.integers(0, 99)), draw(st.booleans())


def basis_of(described: dict[str, Any]) -> Any:
    random = np.random.default_rng(described["seed"])
    keys = {name: described[name] for name in described if name not in ("elements", "bonds", "seed")}
    config = config_of(described["elements"], **keys)
    section = basis_section(config)
    for pair, settings_of_bond in described["bonds"].items():
        section["bonds"][pair] = {**section["bonds"]["ALL"], **settings_of_bond}
    configuration = create_multispecies_basis_config(section)
    blocks, known = configuration.funcspecs_blocks, {}
    for block in blocks:
        name = frozenset(block.elements_vec)
        known.setdefault(
            name, np.array(block.radcoefficients) + random.normal(0, 0.3, np.shape(block.radcoefficients))
        )
        block.radcoefficients = known[name].tolist()
    configuration.funcspecs_blocks = blocks
    return ACEBBasisSet(configuration)


def unlabelled(atoms: Atoms, source: str = "a.extxyz", frame: int = 0) -> Structure:
    return Structure(
        numbers=atoms.numbers.astype(np.int32),
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=0.0,
        forces=np.zeros((len(atoms), 3)),
        stress=None,
        config_type="any",
        source=source,
        frame=frame,
    )


def atoms_of(elements: list[str], n: int, seed: int, periodic: bool) -> Structure:
    """Atoms that are nowhere closer than 1.2 Å, some of them without a neighbour when they are few."""
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(2.2, 3.4, 3)) * np.cbrt(n) + random.uniform(-0.3, 0.3, (3, 3))
    places: list[np.ndarray[Any, Any]] = []
    atoms = Atoms(cell=cell, pbc=periodic)
    while len(places) < n:
        tried = Atoms([random.choice(elements)], [random.random(3) @ cell])
        grown = atoms + tried
        distances = grown.get_all_distances(mic=periodic)[-1, :-1]
        if not len(distances) or distances.min() > 1.2:
            atoms, places = grown, [*places, tried.positions[0]]
    return unlabelled(atoms)


@settings(max_examples=60)
@given(bases(), surroundings())
@example(  # the largest couplings that the engine has
    {"elements": ["Al"], "embedding": "linear", "cutoff": 4.5, "nradmax_by_orders": [15, 2, 1, 1, 1, 1],
     "lmax_by_orders": [0, 10, 6, 4, 3, 2], "functions_per_element": 400, "radial_basis": "SBessel",
     "radial_parameters": [5.25], "bonds": {}, "seed": 1}, (9, 3, True),
)  # fmt: skip
def test_rows_are_those_of_the_engines_evaluator(described: dict[str, Any], where: tuple[int, int, bool]) -> None:
    basis = basis_of(described)
    ours, theirs = CompiledEvaluator(basis), EngineEvaluator(basis)
    atoms = atoms_of(described["elements"], *where)

    found, expected = ours.rows(atoms), theirs.rows(atoms)

    largest = [max(float(np.abs(part).max(initial=0.0)), 1e-3) for part in expected]
    assert np.abs(found.energy - expected.energy).max() <= 1e-10 * largest[0]
    assert np.abs(found.forces - expected.forces).max() <= 1e-10 * largest[1]
    # which the engine does not compute: differences of its energy rows
    assert np.abs(found.virial - expected.virial).max() <= 1e-6 * max(largest)
    for mine, engine in zip(ours.projections(atoms), theirs.projections(atoms), strict=True):
        assert mine.shape == engine.shape
        assert np.abs(mine - engine).max(initial=0.0) <= 1e-10 * max(np.abs(engine).max(initial=0.0), 1e-3)


def test_what_strains_change_is_what_differences_of_energies_say(tmp_path: Path) -> None:
    projector = Projector(write_random(tmp_path / "p.yaml", config_of(["Al", "Ni"], functions_per_element=10)))
    (atoms,) = checked(aluminium_nickel(4)[3:])
    virial, step = projector.design(atoms).virial, 1e-4
    for row, (a, b) in zip(virial, [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], strict=True):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            moved = atoms.to_atoms()
            moved.set_cell(moved.cell @ strain, scale_atoms=True)
            energies.append(projector.design(unlabelled(moved)).energy)
        assert row == pytest.approx((energies[0] - energies[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_a_core_repulsion_goes_through_the_engines_evaluator(tmp_path: Path) -> None:
    path = write_random(tmp_path / "p.yaml", config_of(["Al"], functions_per_element=10))
    assert Projector(path).lacking is None
    tune(path, r_in=2.5, delta_in=0.3, core_rep_parameters=[10.0, 1.0], inner_cutoff_type="distance")

    projector = Projector(path)

    assert projector.lacking == "a core repulsion"
    assert lacking(ACEBBasisSet(BBasisConfiguration(str(path)))) == "a core repulsion"
    (atoms,) = checked(aluminium(1))
    expected = EngineEvaluator(ACEBBasisSet(BBasisConfiguration(str(path)))).rows(atoms)
    assert np.array_equal(projector.design(atoms).forces, expected.forces)


def test_radial_functions_that_fade_out_at_short_distance_are_the_engines(tmp_path: Path) -> None:
    path = write_random(tmp_path / "p.yaml", config_of(["Al"], functions_per_element=10))
    tune(path, r_in=2.9, delta_in=0.4, inner_cutoff_type="distance")
    basis = ACEBBasisSet(BBasisConfiguration(str(path)))
    assert lacking(basis) is None
    (atoms,) = checked(aluminium(1))
    for mine, engine in zip(
        CompiledEvaluator(basis).rows(atoms)[:2], EngineEvaluator(basis).rows(atoms)[:2], strict=True
    ):
        assert np.abs(mine - engine).max() <= 1e-7 * np.abs(engine).max()


def test_two_atoms_at_one_place_are_named(tmp_path: Path) -> None:
    projector = Projector(write_random(tmp_path / "p.yaml", config_of(["Al"], functions_per_element=10)))
    atoms = Atoms("Al2", positions=[[0, 0, 0], [0, 0, 1e-4]], cell=[8, 8, 8], pbc=True)
    close = unlabelled(atoms, "run.xyz", 7)
    with pytest.raises(EngineError, match=r"run\.xyz, frame 7: two atoms are only 0\.0001 Å apart"):
        projector.design(close)


def test_machine_code_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled()
    assert is_compiled()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not is_compiled()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not is_compiled()  # the user's cache directory, by default


def test_without_a_directory_to_write_to_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr("numba.njit", njit)
    assert compiled.__wrapped__() is add_rows
