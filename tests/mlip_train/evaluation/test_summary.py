from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.units import GPa

from mlip_train.ace.bbasis import export_yace
from mlip_train.ace.library import PyACECalculator
from mlip_train.atoms.structure import Structure
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residuals import evaluate
from mlip_train.evaluation.summary import summarise
from mlip_train.records.errors import SplitErrors
from tests.mlip_train.bbasis import write_bbasis

REFERENCE = {"Si": -3.0}


@pytest.fixture(scope="module")
def yace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("potential")
    write_bbasis(folder / "p.yaml")
    export_yace(folder / "p.yaml", folder / "p.yace")
    return folder / "p.yace"


def structure_off_by(yace: Path, seed: int, energy: float, force: float, stress: float, kind: str) -> Structure:
    """A structure whose labels differ from the potential by known amounts (eV/atom, eV/Å, GPa)."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = PyACECalculator(str(yace))
    return Structure(
        numbers=atoms.numbers.astype(np.int32),
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=atoms.get_potential_energy() + len(atoms) * (REFERENCE["Si"] - energy),
        forces=atoms.get_forces() - force,
        stress=atoms.get_stress() - stress * GPa,
        config_type=kind,
        source="test",
        frame=seed,
    )


def errors_on(yace: Path, structures: list[Structure]) -> SplitErrors | None:
    return summarise(evaluate(Exported.of(yace, None), structures, REFERENCE)).errors


def test_errors_have_the_units_they_say(yace: Path) -> None:
    structures = [
        structure_off_by(yace, 1, 0.010, 0.1, 2.0, "a"),
        structure_off_by(yace, 2, -0.030, 0.3, 2.0, "b"),
    ]
    errors = errors_on(yace, structures)
    assert errors is not None
    overall = errors.overall
    assert (overall.n_structures, overall.n_atoms) == (2, 16)
    assert overall.energy_mae == pytest.approx(20.0)
    assert overall.energy_rmse == pytest.approx(np.sqrt((10**2 + 30**2) / 2))
    assert overall.force_mae == pytest.approx(200.0)
    assert overall.force_rmse == pytest.approx(np.sqrt((100**2 + 300**2) / 2))
    assert overall.stress_rmse == pytest.approx(2.0)
    assert overall.energy_max == pytest.approx(30.0)
    assert overall.force_max == pytest.approx(300.0)
    assert overall.force_vector_rmse == pytest.approx(np.sqrt(3) * overall.force_rmse)
    assert overall.stress_max == pytest.approx(2.0)
    assert errors.by_config_type["a"].energy_mae == pytest.approx(10.0)
    assert errors.by_config_type["b"].force_rmse == pytest.approx(300.0)


def test_stress_is_left_out_where_there_is_none(yace: Path) -> None:
    from dataclasses import replace

    errors = errors_on(yace, [replace(structure_off_by(yace, 1, 0, 0, 0, "a"), stress=None)])
    assert errors is not None
    assert errors.overall.stress_rmse is None
    assert errors_on(yace, []) is None
