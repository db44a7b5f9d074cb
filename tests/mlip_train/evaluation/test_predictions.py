from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_train.ace.bbasis import export_yace
from mlip_train.ace.library import PyACECalculator
from mlip_train.atoms.pair_potentials import SwitchRadii, ZBLPotential
from mlip_train.atoms.structure import Structure
from mlip_train.errors import InconsistentPotentialError
from mlip_train.evaluation import predictions
from mlip_train.evaluation.predictions import Exported, Prediction, predict
from tests.mlip_train.bbasis import write_bbasis
from tests.mlip_train.frames import cluster, crystal, structure

ZBL = ZBLPotential(radii={"Si-Si": SwitchRadii(inner=1.1, outer=2.8)})


@pytest.fixture(scope="module")
def yace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("potential")
    write_bbasis(folder / "p.yaml")
    export_yace(folder / "p.yaml", folder / "p.yace")
    return folder / "p.yace"


def predicted(potential: Exported, *structures: Structure) -> list[Prediction]:
    return [prediction for _, prediction in predict(potential, structures)]


@pytest.mark.parametrize("baseline", [None, ZBL], ids=["alone", "with a baseline"])
def test_what_is_not_of_ace_is_told_apart(yace: Path, baseline: ZBLPotential | None) -> None:
    structures = [structure(crystal(a=5.3)), structure(cluster("Si3"))]
    for one, prediction in zip(structures, predicted(Exported.of(yace, baseline), *structures), strict=True):
        atoms, ace = one.to_atoms(), PyACECalculator(str(yace))
        ace.calculate(atoms)
        added = 0.0 if baseline is None else baseline.compute(atoms).energy
        assert prediction.baseline_energy == pytest.approx(added, abs=1e-12)
        assert (added != 0.0) == (baseline is not None)
        assert prediction.energy - prediction.baseline_energy == pytest.approx(ace.results["energy"])
        assert prediction.graded is None


def test_a_bulk_has_a_stress_and_a_cluster_has_none(yace: Path) -> None:
    bulk, molecule = predicted(Exported.of(yace, None), structure(crystal()), structure(cluster()))
    assert bulk.stress is not None
    assert bulk.stress.shape == (6,)
    assert molecule.stress is None


def test_a_prediction_that_is_no_number_is_an_error(yace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Prediction(np.nan, 0.0, np.zeros((2, 3)), None)
    monkeypatch.setattr(predictions, "_predict", lambda _, chunk: (chunk, [nothing] * len(chunk)))
    with pytest.raises(InconsistentPotentialError, match=r"not finite for a\.extxyz frame 0"):
        predicted(Exported.of(yace, None), structure(crystal()))
