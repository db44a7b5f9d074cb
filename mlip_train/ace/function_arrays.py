"""The functions of a B-basis as arrays: what the kernel needs of the engine's own basis object.

A function is B = Σ_k c_k Re Π_t A_t over combinations k of m, with A_nlm = Σ_j R_nl(r_j) Y_lm(r̂_j) over the
neighbours of one species (Drautz, Phys. Rev. B 99, 014104, 2019). Order, couplings and radial functions are
read from the engine's basis; nothing of them is computed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlip_train.base.arrays import FloatArray

__all__ = ["FunctionArrays", "IntArray", "RadialTables", "functions_of", "radial_tables_of"]

IntArray = NDArray[np.int64]


class RadialTables(NamedTuple):
    """Radial functions of every ordered pair of species, where the engine's splines have their knots.

    The engine interpolates between them with the cubic that has their values and derivatives, and so does the
    kernel. Of a pair, the functions are g_n (order 1), then R_nl with l running fastest.
    """

    knots: FloatArray  # (species, species, knots, functions, 2): value, and derivative times the step
    cutoff: FloatArray  # (species, species), Å
    per_length: FloatArray  # (species, species), knots per Å
    bins: IntArray  # (species, species), between knots
    l_max: int


class FunctionArrays(NamedTuple):
    """The functions of the atoms of one species.

    A *component* is one A_nlm with m ≥ 0 of one neighbour species; those of a species are neighbours. Each has
    a real channel, and an imaginary one where m > 0.
    """

    component_start: IntArray  # (species + 1,)
    component_radial: IntArray  # (components,): its radial function in the tables
    component_lm: IntArray  # (components,): l (l + 1) / 2 + m
    real_channel: IntArray  # (components,)
    imaginary_channel: IntArray  # (components,); -1 where m is 0
    n_channels: int
    order: IntArray  # (functions,): number of factors
    uses_start: IntArray  # (functions + 1,)
    uses: IntArray  # components that each function is made of, ascending
    term_start: IntArray  # (functions + 1,)
    coefficient: FloatArray  # (terms,)
    factor_start: IntArray  # (functions,): of its first term; each term has as many factors as the order
    factor: IntArray  # (factors,): place among the components that the function uses
    sign: FloatArray  # (factors,): -1 where the component enters conjugated


def radial_tables_of(basis: Any) -> RadialTables:
    """Sample the radial functions of an `ACEBBasisSet`."""
    radial, n = basis.radial_functions, int(basis.nelements)
    cutoff = np.array(radial.cut, dtype=np.float64).reshape(n, n)
    # the engine has this many bins (a truncated quotient), and stretches them to end at the cutoff
    bins = (cutoff / float(radial.deltaSplineBins)).astype(np.int64)
    n_functions = basis.nradbase + basis.nradmax * (basis.lmax + 1)
    knots = np.zeros((n, n, int(bins.max()) + 1, n_functions, 2))
    for i, j in np.ndindex(n, n):
        step, count = cutoff[i, j] / bins[i, j], int(bins[i, j])
        places = step * np.arange(1, count)
        places[0] *= 1 + 1e-12  # just inside the first bin that the engine evaluates
        radial.evaluate_range(places.tolist(), basis.nradbase, basis.nradmax, i, j)
        for derivative, prefix in enumerate(("", "d")):
            values = [np.array(getattr(radial, f"{prefix}gr_vec"))]
            if basis.nradmax:  # the engine fails on an empty array
                values.append(np.array(getattr(radial, f"{prefix}fr_vec")).reshape(len(places), -1))
            knots[i, j, 1:count, :, derivative] = np.hstack(values) * (step if derivative else 1.0)
    return RadialTables(knots, cutoff, bins / cutoff, bins, int(basis.lmax))


def functions_of(basis: Any, species: int) -> FunctionArrays:
    """Read the functions of one species of an `ACEBBasisSet`, in the order of its coefficients."""
    functions = [*_order_one(basis, species), *_higher_orders(basis, species)]
    components = sorted({factor.component for terms in functions for factors in terms for factor in factors})
    number = {component: place for place, component in enumerate(components)}
    of_species = np.array([component.species for component in components], dtype=np.int64)
    has_imaginary = np.array([component.m > 0 for component in components], dtype=bool)
    real = np.arange(len(components)) + np.concatenate([[0], np.cumsum(has_imaginary)[:-1]])
    flat = _flatten(functions, number)
    return FunctionArrays(
        component_start=np.searchsorted(of_species, np.arange(int(basis.nelements) + 1)).astype(np.int64),
        component_radial=np.array([component.radial for component in components], dtype=np.int64),
        component_lm=np.array([c.l * (c.l + 1) // 2 + c.m for c in components], dtype=np.int64),
        real_channel=real.astype(np.int64),
        imaginary_channel=np.where(has_imaginary, real + 1, -1).astype(np.int64),
        n_channels=len(components) + int(has_imaginary.sum()),
        **flat,
    )


class _Component(NamedTuple):
    species: int
    radial: int
    l: int  # noqa: E741
    m: int  # 0 or more


class _Factor(NamedTuple):
    component: _Component
    conjugated: bool


_Terms = dict[tuple[_Factor, ...], float]  # coefficient of each product of factors


def _order_one(basis: Any, species: int) -> Iterator[_Terms]:
    for function in basis.basis_rank1[species]:
        component = _Component(int(function.mus[0]), int(function.ns[0]) - 1, 0, 0)
        yield {(_Factor(component, conjugated=False),): 1.0}


def _higher_orders(basis: Any, species: int) -> Iterator[_Terms]:
    """Products that are equal, or conjugates of each other, are summed into one."""
    for function in basis.basis[species]:
        terms: _Terms = defaultdict(float)
        mus, ns, ls = list(function.mus), list(function.ns), list(function.ls)
        for ms, coupling in zip(np.array(function.ms_combs).tolist(), function.gen_cgs, strict=True):
            factors, coefficient = [], float(coupling)
            for mu, n, l, m in zip(mus, ns, ls, ms, strict=True):  # noqa: E741
                radial = basis.nradbase + (n - 1) * (basis.lmax + 1) + l
                factors.append(_Factor(_Component(mu, radial, l, abs(m)), conjugated=m < 0))
                if m < 0 and m % 2:
                    coefficient = -coefficient  # A_l,-m = (-1)^m A_lm*
            conjugates = [_Factor(f.component, conjugated=f.component.m > 0 and not f.conjugated) for f in factors]
            terms[min(tuple(sorted(factors)), tuple(sorted(conjugates)))] += coefficient
        yield terms


def _flatten(functions: list[_Terms], number: dict[_Component, int]) -> dict[str, Any]:
    order: list[int] = []
    uses: list[int] = []
    factors: list[int] = []
    coefficients: list[float] = []
    signs: list[float] = []
    uses_start, term_start, factor_start = [0], [0], []
    for terms in functions:
        mine = sorted({number[factor.component] for product in terms for factor in product})
        place = {component: at for at, component in enumerate(mine)}
        order.append(len(next(iter(terms))))
        uses += mine
        uses_start.append(len(uses))
        factor_start.append(len(factors))
        for product, coefficient in terms.items():
            coefficients.append(coefficient)
            factors += [place[number[factor.component]] for factor in product]
            signs += [-1.0 if factor.conjugated else 1.0 for factor in product]
        term_start.append(len(coefficients))
    whole = {"order": order, "uses_start": uses_start, "uses": uses, "term_start": term_start}
    whole |= {"factor_start": factor_start, "factor": factors}
    real = {"coefficient": coefficients, "sign": signs}
    return {name: np.array(values, dtype=np.int64) for name, values in whole.items()} | {
        name: np.array(values, dtype=np.float64) for name, values in real.items()
    }
