from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_train.ace import curvature
from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.curvature import first_inverse_hessian
from mlip_train.ace.library import ACEBBasisSet
from mlip_train.base.arrays import FloatArray
from tests.mlip_train.bbasis import config_of, write_random
from tests.mlip_train.coefficients import first_density

DENSITIES = {"linear": 1, "finnis_sinclair": 2}


def each_basis() -> list[tuple[list[str], str]]:
    return [(elements, embedding) for elements in (["Al"], ["Al", "Ni"]) for embedding in DENSITIES]


def basis_of(folder: Path, elements: list[str], embedding: str) -> Path:
    return write_random(
        folder / "start.yaml", config_of(elements, embedding=embedding, functions_per_element=10), scale=0.01
    )


def write_gram(bbasis: Path, unfelt: int = 0) -> tuple[Path, FloatArray]:
    """A gram matrix of curvatures over ten decades, zero for the functions that no structure feels."""
    n, random = len(first_density(bbasis)), np.random.default_rng(2)
    rows = random.normal(size=(n, n)) * 10.0 ** np.linspace(0, -5, n)
    rows[:, :unfelt] = 0
    np.save(bbasis.with_suffix(".npy"), rows.T @ rows)
    return bbasis.with_suffix(".npy"), rows.T @ rows


def inverse_of(bbasis: Path, gram: Path) -> FloatArray:
    inverse = first_inverse_hessian(bbasis, gram)
    assert inverse is not None
    return np.array(inverse)


def places(bbasis: Path) -> list[list[int]]:
    """Where the engine has the coefficients of each density, functions in the order of the gram matrix.

    Each coefficient of the file is marked with a number of its own, and found again by it.
    """
    configuration = load_bbasis(bbasis)
    blocks, mark = configuration.funcspecs_blocks, 1000.0
    for block in blocks:
        functions = block.funcspecs
        for function in functions:
            function.coeffs = [mark + 0.25 * density for density in range(len(function.coeffs))]
            mark += 1
        block.funcspecs = functions
    configuration.funcspecs_blocks = blocks
    marked = bbasis.with_name("marked.yaml")
    configuration.save(str(marked))
    order, everything = first_density(marked), list(ACEBBasisSet(load_bbasis(marked)).all_coeffs)
    n_densities = len(function.coeffs)
    return [[everything.index(first + 0.25 * density) for first in order] for density in range(n_densities)]


@pytest.mark.parametrize(("elements", "embedding"), each_basis())
def test_each_density_has_the_inverse_of_the_damped_curvature_in_the_engines_order(
    tmp_path: Path, elements: list[str], embedding: str
) -> None:
    bbasis = basis_of(tmp_path, elements, embedding)
    path, gram = write_gram(bbasis)
    inverse = inverse_of(bbasis, path)
    found = places(bbasis)
    assert len(found) == DENSITIES[embedding]
    stiffest = np.linalg.eigvalsh(2 * gram).max()
    damped = 2 * gram + curvature._DAMPING * stiffest * np.eye(len(gram))
    rest = inverse.copy()
    for rows in found:
        assert np.allclose(inverse[np.ix_(rows, rows)] @ damped, np.eye(len(gram)), atol=1e-8)
        rest[np.ix_(rows, rows)] = 0
    n_radial = len(inverse) - sum(map(len, found))
    assert np.allclose(rest, np.diag([rest[0, 0]] * n_radial + [0] * (len(rest) - n_radial)), rtol=1e-12, atol=0)


def test_radial_coefficients_come_first_and_are_as_stiff_as_was_measured(tmp_path: Path) -> None:
    bbasis = basis_of(tmp_path, ["Al", "Ni"], "finnis_sinclair")
    path, gram = write_gram(bbasis)
    inverse = inverse_of(bbasis, path)
    n_radial = len(ACEBBasisSet(load_bbasis(bbasis)).crad_coeffs)
    assert n_radial > 0
    stiffest = np.linalg.eigvalsh(2 * gram).max()
    radial = inverse[:n_radial, :n_radial]
    assert np.allclose(radial, np.eye(n_radial) / (curvature._RADIAL * stiffest))
    assert not inverse[:n_radial, n_radial:].any()


@pytest.mark.parametrize("unfelt", [0, 3])
@pytest.mark.parametrize(("elements", "embedding"), each_basis())
def test_it_is_symmetric_and_positive_definite_whatever_no_structure_feels(
    tmp_path: Path, elements: list[str], embedding: str, unfelt: int
) -> None:
    bbasis = basis_of(tmp_path, elements, embedding)
    inverse = inverse_of(bbasis, write_gram(bbasis, unfelt)[0])
    assert inverse.shape == (len(ACEBBasisSet(load_bbasis(bbasis)).all_coeffs),) * 2
    assert np.isfinite(inverse).all()
    assert np.array_equal(inverse, inverse.T)
    assert np.linalg.eigvalsh(inverse).min() > 0


@pytest.mark.parametrize(("too_many", "is_given"), [(0, True), (1, False)])
def test_there_is_none_for_more_coefficients_than_the_engine_reads_in_good_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_many: int, is_given: bool
) -> None:
    bbasis = basis_of(tmp_path, ["Al"], "finnis_sinclair")
    n_all = len(ACEBBasisSet(load_bbasis(bbasis)).all_coeffs)
    monkeypatch.setattr(curvature, "MOST_COEFFICIENTS", n_all - too_many)
    assert (first_inverse_hessian(bbasis, write_gram(bbasis)[0]) is not None) == is_given
