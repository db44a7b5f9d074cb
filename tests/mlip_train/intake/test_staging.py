from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from mlip_train.errors import InputError
from mlip_train.intake.reading import read_batch
from mlip_train.intake.staging import stage_dft_results
from tests.mlip_train.frames import ANYTHING, SILICON_ONLY, crystal, structure, with_results


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mlip_train" / "staged"


def test_staged_results_come_back_with_every_digit(silicon: list[Atoms]) -> None:
    path = stage_dft_results(silicon[:5])
    read = read_batch([path], SILICON_ONLY).structures
    for stored, original in zip(read, silicon[:5], strict=True):
        expected = structure(original)
        assert stored.structure_id == expected.structure_id
        assert stored.energy == expected.energy
        assert stored.config_type == expected.config_type
        np.testing.assert_array_equal(stored.forces, expected.forces)
        np.testing.assert_array_equal(stored.stress, expected.stress)


def test_the_same_results_are_staged_once(cache: Path, silicon: list[Atoms]) -> None:
    first = stage_dft_results(silicon[:2])
    assert stage_dft_results(silicon[:2]) == first
    assert stage_dft_results(atoms.copy() for atoms in silicon[:2]) != first
    assert stage_dft_results(silicon[1::-1]) != first
    assert first.parent == cache
    assert len(list(cache.iterdir())) == 3


def test_forces_of_fixed_atoms_are_staged_too() -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 1]))
    (stored,) = read_batch([stage_dft_results([atoms])], SILICON_ONLY).structures
    np.testing.assert_array_equal(stored.forces, [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])


def test_results_of_a_live_calculator_are_staged() -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], calculator=EMT())
    energy = atoms.get_potential_energy()
    (stored,) = read_batch([stage_dft_results([atoms])], ANYTHING).structures
    assert stored.energy == energy


def test_results_of_another_geometry_are_not_staged() -> None:
    atoms = crystal()
    atoms.positions[1] += 0.1
    (refusal,) = read_batch([stage_dft_results([atoms])], SILICON_ONLY).refusals
    assert "it has no energy" in refusal.reason


def test_a_frame_can_say_that_it_did_not_converge() -> None:
    atoms = crystal()
    atoms.info["converged"] = False
    (refusal,) = read_batch([stage_dft_results([atoms])], SILICON_ONLY).refusals
    assert "did not converge" in refusal.reason


@pytest.mark.parametrize("frames", [[], crystal(), [crystal(), "a.extxyz"], [None], "a.extxyz"])
def test_what_is_no_list_of_atoms_is_refused(cache: Path, frames: Any) -> None:
    with pytest.raises(InputError, match=r"needs a list of ase.Atoms with energies and forces attached"):
        stage_dft_results(frames)
    assert not cache.exists()


def test_a_frame_that_cannot_be_written_leaves_nothing(cache: Path) -> None:
    odd = with_results(crystal(), energy=-10.0, forces=[object()])
    with pytest.raises((TypeError, AttributeError)):
        stage_dft_results([crystal(), odd])
    assert list(cache.iterdir()) == []
