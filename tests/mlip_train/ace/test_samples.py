"""Linear solutions of samples, beside those of the same structures written down as often as they were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_train.ace import cross_validation
from mlip_train.ace.linear_solution import solve_linear_start
from mlip_train.ace.normal_equations import LabelledStructure, Shares
from mlip_train.ace.samples import solve_samples
from mlip_train.atoms.structure import Structure
from mlip_train.config.fit import UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.weights import labelled
from tests.mlip_train.alloys import aluminium, checked
from tests.mlip_train.bbasis import config_of, write_random
from tests.mlip_train.coefficients import first_density

KAPPA = 0.3
SHARES = Shares(1 - KAPPA, KAPPA, 0.0)
RIDGE = 1e-8


def rows_of(structures: list[Structure]) -> list[LabelledStructure]:
    return list(labelled(lambda: structures, structures, {"Al": -0.1}, UniformWeighting(), 1))


@pytest.fixture
def basis(tmp_path: Path) -> Path:
    return write_random(tmp_path / "basis.yaml", config_of(["Al"], functions_per_element=10))


def test_a_sample_is_solved_as_if_its_structures_were_there_so_often(
    basis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = [one for one in checked(aluminium(14)) if len(one.numbers) == 4]  # so that atoms weigh the same
    drawn = np.random.default_rng(3).integers(0, 3, (len(structures), 2))
    times = {one.structure_id: n for one, n in zip(structures, drawn, strict=True) if n.any()}
    targets = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    solve_samples(basis, rows_of(structures), times, SHARES, RIDGE, targets)

    monkeypatch.setattr(cross_validation, "RIDGES", (RIDGE,))
    for sample, target in enumerate(targets):
        repeated = [one for one, n in zip(structures, drawn[:, sample], strict=True) for _ in range(n)]
        solve_linear_start(basis, rows_of(repeated), KAPPA, tmp_path / "repeated.yaml")
        np.testing.assert_allclose(first_density(target), first_density(tmp_path / "repeated.yaml"), rtol=1e-5)
    assert not np.allclose(first_density(targets[0]), first_density(targets[1]), rtol=1e-2)


def test_labels_that_are_not_finite_are_told(basis: Path, tmp_path: Path) -> None:
    rows = rows_of(checked(aluminium(6)))
    broken = LabelledStructure(rows[0].structure, np.nan, rows[0].energy_weight, rows[0].force_weights)
    times = {row.structure.structure_id: np.array([1]) for row in rows}
    with pytest.raises(TrainingFailedError, match="not finite"):
        solve_samples(basis, [broken, *rows[1:]], times, SHARES, RIDGE, [tmp_path / "solved.yaml"])
