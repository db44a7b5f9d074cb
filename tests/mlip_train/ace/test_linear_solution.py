from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import joblib
import numpy as np
import pytest

from mlip_train.ace import linear_solution
from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.cross_validation import RIDGES
from mlip_train.ace.linear_solution import FOLDS, solve_linear_start
from mlip_train.ace.normal_equations import LabelledStructure
from mlip_train.ace.projections import Projector
from mlip_train.atoms.structure import Structure
from mlip_train.base import parallel
from mlip_train.base.arrays import FloatArray
from mlip_train.config.fit import UniformWeighting
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.weights import labelled
from tests.mlip_train.alloys import aluminium, aluminium_nickel, checked
from tests.mlip_train.bbasis import config_of, predictions, write_random
from tests.mlip_train.coefficients import first_density, set_first_density

KAPPA = 0.3
ENERGIES = {"Al": -0.1, "Ni": 0.2}
CASES = [(["Al"], "linear"), (["Al"], "finnis_sinclair"), (["Al", "Ni"], "finnis_sinclair")]


def rows_of(structures: list[Structure]) -> list[LabelledStructure]:
    return list(labelled(lambda: structures, structures, ENERGIES, UniformWeighting(), 1))


def engines_loss(bbasis: Path, rows: list[LabelledStructure], kappa: float = KAPPA) -> float:
    """The loss as the engine defines it, with the engine's evaluator."""
    energies, forces = predictions(bbasis, [row.structure for row in rows])
    sizes = np.array([len(row.structure.numbers) for row in rows])
    per_atom = (energies - [row.energy for row in rows]) / sizes
    force_errors = forces - np.concatenate([row.structure.forces.ravel() for row in rows])
    force_weights = np.repeat(np.concatenate([row.force_weights for row in rows]), 3)
    energy_weights = np.array([row.energy_weight for row in rows])
    return float((1 - kappa) * energy_weights @ per_atom**2 + kappa * force_weights @ force_errors**2)


def dense_rows(bbasis: Path, rows: list[LabelledStructure]) -> list[tuple[FloatArray, FloatArray]]:
    """Weighted matrix and labels of each structure."""
    set_first_density(bbasis, np.zeros_like(first_density(bbasis)), bbasis.with_name("rest.yaml"))
    projector, found = Projector(bbasis.with_name("rest.yaml")), []
    for row in rows:
        design, n = projector.design(row.structure), len(row.structure.numbers)
        weight = ((1 - KAPPA) * row.energy_weight) ** 0.5 / n
        weights = np.sqrt(KAPPA * np.repeat(row.force_weights, 3))
        matrix = np.vstack([weight * design.energy, weights[:, None] * design.forces])
        force_labels = weights * (row.structure.forces.ravel() - design.fixed.forces)
        found.append((matrix, np.append(weight * (row.energy - design.fixed.energy), force_labels)))
    return found


def dense_solution(rows: list[tuple[FloatArray, FloatArray]], ridge: float) -> FloatArray:
    """Least squares of the whole matrix, the ridge as rows of its own."""
    matrix = np.vstack([matrix for matrix, _ in rows])
    damping = np.diag(ridge**0.5 * np.linalg.norm(matrix, axis=0))
    labels = [*(labels for _, labels in rows), np.zeros(len(damping))]
    return np.linalg.lstsq(np.vstack([matrix, damping]), np.concatenate(labels), rcond=None)[0]


def losses_on_the_left_out(
    rows: list[LabelledStructure], dense: list[tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Loss for each ridge on structures that were left out, a fold at a time."""
    losses = np.zeros(len(RIDGES))
    for fold in range(FOLDS):
        inside = [linear_solution._fold(row) != fold for row in rows]
        for number, ridge in enumerate(RIDGES):
            solution = dense_solution([d for d, is_in in zip(dense, inside, strict=True) if is_in], ridge)
            left_out = [d for d, is_in in zip(dense, inside, strict=True) if not is_in]
            losses[number] += sum(((matrix @ solution - labels) ** 2).sum() for matrix, labels in left_out)
    return losses


@pytest.mark.parametrize(("elements", "embedding"), CASES)
def test_the_solution_is_the_minimum_of_the_engines_loss(
    tmp_path: Path, elements: list[str], embedding: str
) -> None:
    rows = rows_of(checked(aluminium(12) if elements == ["Al"] else aluminium_nickel(16)))
    config = config_of(elements, embedding=embedding, functions_per_element=10)
    basis, solved = write_random(tmp_path / "basis.yaml", config), tmp_path / "solved.yaml"

    solution = solve_linear_start(basis, rows, KAPPA, solved)

    found = first_density(solved)
    assert (solution.n_structures, solution.n_functions) == (len(rows), len(found))
    assert solution.loss == pytest.approx(engines_loss(solved, rows), rel=1e-6)
    dense = dense_solution(dense_rows(basis, rows), solution.ridge)
    set_first_density(basis, dense, tmp_path / "dense.yaml")
    assert engines_loss(tmp_path / "dense.yaml", rows) == pytest.approx(solution.loss, rel=1e-4)
    random_state = np.random.default_rng(5)
    for _ in range(10):
        perturbed = found * (1 + random_state.normal(0, 0.05, len(found)))
        set_first_density(solved, perturbed, tmp_path / "perturbed.yaml")
        assert engines_loss(tmp_path / "perturbed.yaml", rows) > solution.loss


def test_radial_functions_and_the_other_density_stay_as_they_are(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    configuration = load_bbasis(basis)
    configuration.metadata["who"] = "me"
    configuration.save(str(basis))
    solve_linear_start(basis, rows_of(checked(aluminium(6))), KAPPA, tmp_path / "solved.yaml")
    before, after = load_bbasis(basis), load_bbasis(tmp_path / "solved.yaml")
    for old, new in zip(before.funcspecs_blocks, after.funcspecs_blocks, strict=True):
        assert np.allclose(old.radcoefficients, new.radcoefficients, rtol=1e-12)
        assert [f.coeffs[1] for f in old.funcspecs] == pytest.approx([f.coeffs[1] for f in new.funcspecs])
        assert [f.coeffs[0] for f in old.funcspecs] != pytest.approx([f.coeffs[0] for f in new.funcspecs])
    assert after.metadata["who"] == "me"


def test_what_was_in_the_first_density_before_does_not_matter(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    set_first_density(basis, 7 * first_density(basis) + 1, tmp_path / "other.yaml")
    rows = rows_of(checked(aluminium(6)))
    for name in ("basis", "other"):
        solve_linear_start(tmp_path / f"{name}.yaml", rows, KAPPA, tmp_path / f"from_{name}.yaml")
    assert np.allclose(first_density(tmp_path / "from_basis.yaml"), first_density(tmp_path / "from_other.yaml"))


def test_the_force_share_of_the_loss_decides_what_is_fitted_better(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    rows = rows_of(checked(aluminium(12)))
    on_energies = solve_linear_start(basis, rows, 0.001, tmp_path / "energies.yaml")
    on_forces = solve_linear_start(basis, rows, 0.999, tmp_path / "forces.yaml")
    assert on_energies.energy_rmse < on_forces.energy_rmse
    assert on_forces.force_rmse < on_energies.force_rmse


def test_the_reported_errors_are_those_of_the_written_potential(tmp_path: Path) -> None:
    rows = rows_of(checked(aluminium(6)))
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    solution = solve_linear_start(basis, rows, KAPPA, tmp_path / "solved.yaml")
    energies, forces = predictions(tmp_path / "solved.yaml", [row.structure for row in rows])
    per_atom = (energies - [row.energy for row in rows]) / 4
    errors = forces - np.concatenate([row.structure.forces.ravel() for row in rows])
    assert solution.energy_rmse == pytest.approx(np.sqrt((per_atom**2).mean()), rel=1e-6)
    assert solution.force_rmse == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)


def test_a_structure_of_more_weight_is_fitted_better(tmp_path: Path) -> None:
    rows = rows_of(checked(aluminium(12)))
    heavy = [
        LabelledStructure(r.structure, r.energy, r.energy_weight * f, r.force_weights * f)
        for r, f in zip(rows, [1e4, *[1e-4] * 11], strict=True)
    ]
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    solve_linear_start(basis, rows, KAPPA, tmp_path / "even.yaml")
    solve_linear_start(basis, heavy, KAPPA, tmp_path / "heavy.yaml")
    even, favoured = (engines_loss(tmp_path / f"{name}.yaml", rows[:1]) for name in ("even", "heavy"))
    assert favoured < 0.1 * even


def test_the_order_of_structures_changes_neither_the_ridge_nor_the_solution(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"], functions_per_element=12))
    rows = rows_of(checked(aluminium(20)))
    shuffled = random.Random(3).sample(rows, len(rows))
    one = solve_linear_start(basis, rows, KAPPA, tmp_path / "one.yaml")
    other = solve_linear_start(basis, shuffled, KAPPA, tmp_path / "other.yaml")
    assert one.ridge == other.ridge
    assert one.loss == pytest.approx(other.loss, rel=1e-8)
    again = solve_linear_start(basis, rows, KAPPA, tmp_path / "again.yaml")
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes()
    assert again.model_dump(exclude={"seconds"}) == one.model_dump(exclude={"seconds"})


def test_fewer_structures_than_functions_get_a_ridge_that_does_not_blow_up(tmp_path: Path) -> None:
    config = config_of(["Al"], functions_per_element=40, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 1])
    basis = write_random(tmp_path / "basis.yaml", config)
    structures = checked(aluminium(20))
    solve_linear_start(basis, rows_of(structures[:4]), 0.0, tmp_path / "solved.yaml")
    nothing = tmp_path / "nothing.yaml"
    set_first_density(basis, np.zeros_like(first_density(basis)), nothing)
    unseen = rows_of(structures[4:])
    assert engines_loss(tmp_path / "solved.yaml", unseen, 0.0) < engines_loss(nothing, unseen, 0.0)


def test_functions_that_no_structure_feels_keep_the_coefficient_zero(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al", "Ni"], functions_per_element=10))
    rows = rows_of(checked(aluminium(8)))
    solution = solve_linear_start(basis, rows, KAPPA, tmp_path / "solved.yaml")
    felt = np.any([Projector(basis).design(row.structure).energy != 0 for row in rows], axis=0)
    found = first_density(tmp_path / "solved.yaml")
    assert 0 < felt.sum() < len(felt)
    assert np.array_equal(found != 0, felt)
    assert np.isfinite(solution.loss)


@pytest.mark.parametrize("seed", range(3))
def test_the_ridge_is_the_largest_that_is_hardly_worse_than_the_best(tmp_path: Path, seed: int) -> None:
    config = config_of(["Al"], functions_per_element=20, nradmax_by_orders=[6, 4, 2], lmax_by_orders=[0, 2, 1])
    basis = write_random(tmp_path / "basis.yaml", config)
    rows = rows_of(checked(aluminium(25, seed)))
    losses = losses_on_the_left_out(rows, dense_rows(basis, rows))
    expected = max(ridge for ridge, loss in zip(RIDGES, losses, strict=True) if loss <= 1.005 * losses.min())
    for curvature in (None, tmp_path / "curvature.npy"):
        assert solve_linear_start(basis, rows, KAPPA, tmp_path / "s.yaml", curvature=curvature).ridge == expected


def test_the_curvature_is_the_gram_matrix_of_the_weighted_loss(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al", "Ni"]))
    rows = rows_of(checked(aluminium_nickel(8)))
    matrix = np.vstack([matrix for matrix, _ in dense_rows(basis, rows)])
    before = set(tmp_path.iterdir())
    solve_linear_start(basis, rows, KAPPA, tmp_path / "solved.yaml")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "solved.yaml"}
    solve_linear_start(basis, rows, KAPPA, tmp_path / "solved.yaml", curvature=tmp_path / "curvature.npy")
    assert np.allclose(np.load(tmp_path / "curvature.npy"), matrix.T @ matrix, rtol=1e-9, atol=1e-12)


def test_one_structure_is_enough(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    solution = solve_linear_start(basis, rows_of(checked(aluminium(1))), KAPPA, tmp_path / "solved.yaml")
    assert np.isfinite(solution.loss)


def test_nothing_to_solve_from_is_an_error(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    with pytest.raises(TrainingFailedError, match="not one structure"):
        solve_linear_start(basis, [], KAPPA, tmp_path / "solved.yaml")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_labels_that_are_not_finite_are_an_error_and_not_a_potential(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    row = rows_of(checked(aluminium(1)))[0]
    endless = LabelledStructure(row.structure, float("inf"), row.energy_weight, row.force_weights)
    with pytest.raises(TrainingFailedError, match="no finite solution"):
        solve_linear_start(basis, [endless], KAPPA, tmp_path / "solved.yaml")


@pytest.mark.parametrize("worth_sharing", [0.0, 1e9], ids=["shared out", "alone"])
def test_structures_are_let_go_once_they_are_in_the_equations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth_sharing: float
) -> None:
    basis = write_random(
        tmp_path / "basis.yaml", config_of(["Al"], functions_per_element=3, lmax_by_orders=[0, 0])
    )
    (structure,) = checked(aluminium(1))
    alive, most = 0, 0

    class Tracked(LabelledStructure):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[LabelledStructure]:
        nonlocal alive, most
        for number in range(600):
            other = replace(structure, positions=structure.positions * (1 + 1e-3 * number))
            alive += 1
            most = max(most, alive)
            yield Tracked(other, float(number), 1 / 600, np.full(4, 1 / 2400))

    monkeypatch.setattr(parallel, "_WORTH_SHARING", worth_sharing)
    with joblib.parallel_config(backend="sequential"):
        solve_linear_start(basis, stream(), KAPPA, tmp_path / "solved.yaml")
    assert most <= (FOLDS + 10) * linear_solution._MOST


def test_equations_do_not_grow_with_the_number_of_atoms(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    projector = Projector(basis)
    n = sum(projector.n_functions.values())
    for rows in (rows_of(checked(aluminium(1))), rows_of(checked(aluminium(9)))):
        for equations in linear_solution._terms_of(projector, rows):
            assert equations.gram.shape == (n, n)
            assert equations.moment.shape == (n,)


def test_several_processes_find_the_solution_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    rows = rows_of(checked(aluminium(12)))
    told: list[int] = []
    one = solve_linear_start(basis, rows, KAPPA, tmp_path / "one.yaml", on_progress=told.append)
    monkeypatch.setattr(parallel, "_WORTH_SHARING", 0.0)
    several = solve_linear_start(basis, rows, KAPPA, tmp_path / "several.yaml")
    assert told[-1] == 12
    assert several.model_dump(exclude={"seconds"}) == one.model_dump(exclude={"seconds"})
    assert (tmp_path / "several.yaml").read_bytes() == (tmp_path / "one.yaml").read_bytes()


def test_a_solution_that_was_killed_is_found_again_to_the_last_digit(tmp_path: Path) -> None:
    basis = write_random(tmp_path / "basis.yaml", config_of(["Al"]))
    rows = rows_of(checked(aluminium(12)))
    solve_linear_start(basis, rows, KAPPA, tmp_path / "undisturbed.yaml")

    def killed() -> None:
        solve_linear_start(
            basis, rows, KAPPA, tmp_path / "solved.yaml", on_progress=lambda done: os.kill(os.getpid(), SIGKILL)
        )

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -SIGKILL
    solve_linear_start(basis, rows, KAPPA, tmp_path / "solved.yaml")
    assert (tmp_path / "solved.yaml").read_bytes() == (tmp_path / "undisturbed.yaml").read_bytes()
