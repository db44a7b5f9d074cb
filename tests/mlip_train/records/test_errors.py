from __future__ import annotations

from mlip_train.evaluation.residuals import DIFFERENCES
from mlip_train.records.errors import MEASURES, QUANTITIES, Errors


def test_every_error_is_of_a_quantity_that_is_known_and_can_be_computed() -> None:
    assert set(MEASURES) == {name for name in Errors.model_fields if name not in ("n_structures", "n_atoms")}
    assert {measure.quantity for measure in MEASURES.values()} == set(QUANTITIES) == set(DIFFERENCES)


def test_an_error_is_named_with_its_unit() -> None:
    vector, stress = MEASURES["force_vector_rmse"], MEASURES["stress_max"]
    assert (vector.label, vector.words, vector.unit) == ("Force vector, RMSE", "force vector RMSE", "meV/Å")
    assert (stress.label, stress.unit) == ("Stress component, largest", "GPa")


def test_means_are_roots_of_mean_powers() -> None:
    assert {name: MEASURES[name].power for name in ("energy_rmse", "force_mae", "stress_max")} == {
        "energy_rmse": 2, "force_mae": 1, "stress_max": None
    }  # fmt: skip


def test_errors_of_early_versions_lack_some() -> None:
    errors = Errors(n_structures=3, n_atoms=9, energy_rmse=1.0, energy_mae=0.5, force_rmse=9.0, force_mae=5.0)
    assert errors.stress_rmse is errors.force_vector_rmse is errors.energy_max is None
    assert str(errors) == "energy 1.0 meV/atom, force 9 meV/Å RMSE on 3 structures"
