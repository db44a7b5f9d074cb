"""The arithmetic of projections, written as loops and compiled to machine code when first used.

Of the atoms of one species, some at a time: first their A_nlm and how each changes with the neighbours, then
function by function the products and their derivatives with respect to each *distinct* A (about seven, where
there are many more products), and only then these times the changes of A, contiguous over all neighbours. The
cost is functions x distinct A x neighbours.

The changes of a component are laid out in columns: the force on each distinct neighbouring atom (all x, then all
y, then all z), then the force on the centre and the six strain derivatives; so sums over neighbours need no
pass of their own, and cells with few atoms few columns.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import platformdirs

from mlip_train.ace.function_arrays import FunctionArrays, IntArray, RadialTables
from mlip_train.base.arrays import FloatArray

__all__ = ["Neighbours", "Workspace", "add_rows", "compiled", "is_compiled", "workspace"]

_LANES: Final = 8  # atoms that go through the products at once, in a vector register
_BLOCK: Final = 32  # functions whose derivatives wait until they are multiplied, atom by atom
_AT_ONCE: Final = 4  # channels
_MOST_FACTORS: Final = 6
_CENTRE: Final = 9  # columns beside those of neighbours: force on the centre, strains xx yy zz yz xz xy


@functools.cache
def compiled() -> Callable[..., None]:
    """Return `add_rows` as machine code, which the user's cache directory keeps (or `NUMBA_CACHE_DIR`)."""
    import numba  # takes half a second, for which who never projects need not wait

    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
    for part in (_lay_columns, _interpolate, _harmonics, _surroundings, _components, _changes, _products, _spread):
        numba.extending.register_jitable(**options)(part)
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(_cache())
    try:
        machine_code: Callable[..., None] = numba.njit(cache=True, **options)(add_rows)
    except RuntimeError:  # no directory that can be written
        machine_code = numba.njit(**options)(add_rows)
    finally:
        settings.CACHE_DIR = before
    return machine_code


def is_compiled() -> bool:
    """Whether `compiled` finds its machine code in the cache; it takes some 10 s where it does not."""
    return any(_cache().glob("**/kernel.add_rows*.nbc"))


def _processor() -> str:
    from llvmlite import binding  # see `compiled`

    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def _cache() -> Path:
    """A directory for this version of this file and this processor: what others have compiled is of no use."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("mlip-train") / "compiled"
    return root / hashlib.sha256(Path(__file__).read_bytes() + _processor().encode()).hexdigest()[:16]


class Neighbours(NamedTuple):
    """The atoms of a structure, and of each its neighbours, sorted by their species and then by themselves."""

    species: IntArray  # (n,)
    start: IntArray  # (n + 1,): where the neighbours of each atom begin
    neighbour: IntArray  # (pairs,)
    vector: FloatArray  # (pairs, 3), from the atom to the neighbour, Å


class Workspace(NamedTuple):
    """Arrays that are used again for every atom; a lane is one of the atoms that are computed together."""

    # of one atom, by its neighbours
    radial: FloatArray  # (radial functions, 2, most neighbours): value and derivative
    harmonic: FloatArray  # (l and m, 2, 4, most neighbours): real and imaginary part; value and gradient
    along: FloatArray  # (6, most neighbours): direction, vector
    column: IntArray  # (most neighbours, 3): of the force on it
    scratch: FloatArray  # (columns,)
    # of each lane
    real: FloatArray  # (components, lanes)
    imaginary: FloatArray
    changes: FloatArray  # (lanes, channels, columns)
    first_column: IntArray  # (lanes, species + 1)
    target: IntArray  # (lanes, columns): in the rows of the structure
    # of each function of a block
    values: FloatArray  # (block, lanes)
    by_real: FloatArray  # (block, components of a function, lanes)
    by_imaginary: FloatArray
    # of one term
    before: FloatArray  # (2, factors, lanes)
    after: FloatArray  # (2, lanes)
    # of one function and lane
    factor: FloatArray
    channel: IntArray


def workspace(
    functions: FunctionArrays, tables: RadialTables, most_neighbours: int, *, gradients: bool
) -> Workspace:
    """Make the arrays that `add_rows` works in."""
    n_components, n_species = len(functions.component_lm), len(functions.component_start) - 1
    n_lm, most = (tables.l_max + 1) * (tables.l_max + 2) // 2, max(most_neighbours, 1)
    width = 3 * most + _CENTRE * n_species if gradients else 1
    widest = int(np.diff(functions.uses_start).max())
    return Workspace(
        radial=np.zeros((tables.knots.shape[3], 2, most)),
        harmonic=np.zeros((n_lm, 2, 4, most)),
        along=np.zeros((6, most)),
        column=np.zeros((most, 3), np.int64),
        scratch=np.zeros(max(width, most)),
        real=np.zeros((n_components, _LANES)),
        imaginary=np.zeros((n_components, _LANES)),
        changes=np.zeros((_LANES, functions.n_channels, width)),
        first_column=np.zeros((_LANES, n_species + 1), np.int64),
        target=np.zeros((_LANES, width), np.int64),
        values=np.zeros((_BLOCK, _LANES)),
        by_real=np.zeros((_BLOCK, widest, _LANES)),
        by_imaginary=np.zeros((_BLOCK, widest, _LANES)),
        before=np.zeros((2, _MOST_FACTORS, _LANES)),
        after=np.zeros((2, _LANES)),
        factor=np.zeros(2 * widest + _AT_ONCE),
        channel=np.zeros(2 * widest + _AT_ONCE, np.int64),
    )


def add_rows(
    functions: FunctionArrays,
    tables: RadialTables,
    around: Neighbours,
    centres: IntArray,
    work: Workspace,
    gradients: bool,
    projections: FloatArray,
    rows: FloatArray,
) -> None:
    """Project the atoms of one species, and add what they contribute to the rows of their structure.

    Parameters
    ----------
    functions : FunctionArrays
        Of that species.
    tables : RadialTables
        Of the basis.
    around : Neighbours
        The structure.
    centres : (atoms,) int
        The atoms of that species.
    work : Workspace
        To work in; what it holds does not matter.
    gradients : bool
        Whether `rows` are wanted.
    projections : (atoms, functions) float
        To be written.
    rows : (functions, 3 n + 6) float
        Forces (eV/Å) on all atoms and derivatives with respect to strain (eV), per unit coefficient; to be
        added to.
    """
    # What is called for every function gets its arrays one by one: to take them out of the tuple costs too much.
    real, imaginary, before, after = work.real, work.imaginary, work.before, work.after
    values, by_real, by_imaginary, changes = work.values, work.by_real, work.by_imaginary, work.changes
    first_column, target, scratch = work.first_column, work.target, work.scratch
    factor, channel = work.factor, work.channel
    for begin in range(0, len(centres), _LANES):
        lanes = min(_LANES, len(centres) - begin)
        for lane in range(lanes):
            centre = centres[begin + lane]
            _surroundings(tables, around, centre, work)
            _components(functions, around, centre, lane, work)
            if gradients:
                _lay_columns(around, centre, lane, work)
                _changes(functions, around, centre, lane, work)
        for low in range(0, len(functions.order), _BLOCK):
            high = min(low + _BLOCK, len(functions.order))
            for v in range(low, high):
                _products(functions, v, v - low, real, imaginary, before, after, values, by_real, by_imaginary)
                for lane in range(lanes):
                    projections[begin + lane, v] = values[v - low, lane]
            if gradients:
                for lane in range(lanes):
                    for v in range(low, high):
                        _spread(
                            functions, v, v - low, lane, by_real, by_imaginary, changes,
                            first_column, target, scratch, factor, channel, rows,
                        )  # fmt: skip


def _lay_columns(around: Neighbours, centre: int, lane: int, work: Workspace) -> None:
    """Give each distinct neighbour its columns; per species, those of the centre and the strains follow."""
    species, start, neighbour = around.species, around.start, around.neighbour
    first_column, target, column = work.first_column, work.target, work.column
    n_species, n_atoms = first_column.shape[1] - 1, len(species)
    at, pair, end = 0, start[centre], start[centre + 1]
    for kind in range(n_species):
        first_column[lane, kind] = at
        last, distinct = pair, 0
        while last < end and species[neighbour[last]] == kind:
            if last == pair or neighbour[last] != neighbour[last - 1]:
                distinct += 1
            last += 1
        latest = -1
        for one in range(pair, last):
            if one == pair or neighbour[one] != neighbour[one - 1]:
                latest += 1
            for axis in range(3):
                column[one - start[centre], axis] = at + axis * distinct + latest
                target[lane, at + axis * distinct + latest] = 3 * neighbour[one] + axis
        at += 3 * distinct
        for axis in range(3):
            target[lane, at + axis] = 3 * centre + axis
        for strain in range(6):
            target[lane, at + 3 + strain] = 3 * n_atoms + strain
        at += _CENTRE
        pair = last
    first_column[lane, n_species] = at


def _surroundings(tables: RadialTables, around: Neighbours, centre: int, work: Workspace) -> None:
    """Radial functions, harmonics and directions of all neighbours of an atom; zero beyond the pair's cutoff."""
    species, start, neighbour, vector = around.species, around.start, around.neighbour, around.vector
    along = work.along
    kind = species[centre]
    for pair in range(start[centre], start[centre + 1]):
        other, at = species[neighbour[pair]], pair - start[centre]
        x, y, z = vector[pair, 0], vector[pair, 1], vector[pair, 2]
        distance = math.sqrt(x * x + y * y + z * z)
        along[0, at], along[1, at], along[2, at] = x / distance, y / distance, z / distance
        along[3, at], along[4, at], along[5, at] = x, y, z
        _harmonics(x / distance, y / distance, z / distance, distance, tables.l_max, at, work.harmonic)
        _interpolate(tables, kind, other, distance, at, work.radial)


def _interpolate(
    tables: RadialTables, kind: int, other: int, distance: float, at: int, radial: FloatArray
) -> None:
    """Values and derivatives of all radial functions: cubics between knots, as the engine's splines are."""
    knots, per_length = tables.knots, tables.per_length[kind, other]
    if distance >= tables.cutoff[kind, other]:
        for k in range(radial.shape[0]):
            radial[k, 0, at] = 0.0
            radial[k, 1, at] = 0.0
        return
    knot = min(int(distance * per_length), int(tables.bins[kind, other]) - 1)  # rounding may lead to the next one
    t = distance * per_length - knot
    t2, t3 = t * t, t * t * t
    a, b, c, d = 2 * t3 - 3 * t2 + 1, t3 - 2 * t2 + t, 3 * t2 - 2 * t3, t3 - t2
    da, db, dd = 6 * (t2 - t), 3 * t2 - 4 * t + 1, 3 * t2 - 2 * t
    for k in range(radial.shape[0]):
        low, low_slope = knots[kind, other, knot, k, 0], knots[kind, other, knot, k, 1]
        high, high_slope = knots[kind, other, knot + 1, k, 0], knots[kind, other, knot + 1, k, 1]
        radial[k, 0, at] = a * low + b * low_slope + c * high + d * high_slope
        radial[k, 1, at] = (da * (low - high) + db * low_slope + dd * high_slope) * per_length


def _harmonics(x: float, y: float, z: float, distance: float, l_max: int, at: int, harmonic: FloatArray) -> None:
    """Y_lm of a direction for m ≥ 0, normalised so that Y_00 = 1, and their gradients (1/Å).

    Y_lm = (-1)^m N_lm Q_lm(z) (x + iy)^m, where Q_lm is the m-th derivative of Legendre's polynomial P_l: this
    form has no pole on the z axis. (Recurrences of Q in l as for associated Legendre functions, DLMF 14.10.3.)
    """
    power_real, power_imaginary = 1.0, 0.0  # (x + iy)^m
    lower_real, lower_imaginary = 0.0, 0.0  # (x + iy)^(m - 1)
    diagonal, scale = 1.0, 1.0  # Q_mm = (2m - 1)!!; (-1)^m sqrt((l - m)! / (l + m)!) at l = m
    for m in range(l_max + 1):
        q_before, q, dq_before, dq = 0.0, diagonal, 0.0, 0.0
        norm = scale
        for l in range(m, l_max + 1):  # noqa: E741
            if l > m:
                q_next = ((2 * l - 1) * z * q - (l + m - 1) * q_before) / (l - m)
                dq_next = ((2 * l - 1) * (q + z * dq) - (l + m - 1) * dq_before) / (l - m)
                q_before, q, dq_before, dq = q, q_next, dq, dq_next
                norm *= math.sqrt((l - m) / (l + m))
            size, lm = norm * math.sqrt(2 * l + 1.0), l * (l + 1) // 2 + m
            for part in range(2):
                power = power_real if part == 0 else power_imaginary
                # d(x + iy)^m/dx = m (x + iy)^(m-1), and i times that with respect to y
                gx = size * q * m * (lower_real if part == 0 else lower_imaginary)
                gy = size * q * m * (-lower_imaginary if part == 0 else lower_real)
                gz = size * dq * power
                radial = gx * x + gy * y + gz * z  # the length of the vector changes no direction
                harmonic[lm, part, 0, at] = size * q * power
                harmonic[lm, part, 1, at] = (gx - radial * x) / distance
                harmonic[lm, part, 2, at] = (gy - radial * y) / distance
                harmonic[lm, part, 3, at] = (gz - radial * z) / distance
        lower_real, lower_imaginary = power_real, power_imaginary
        power_real, power_imaginary = lower_real * x - lower_imaginary * y, lower_real * y + lower_imaginary * x
        diagonal *= 2 * m + 1
        scale *= -1.0 / math.sqrt((2 * m + 1.0) * (2 * m + 2.0))


def _components(functions: FunctionArrays, around: Neighbours, centre: int, lane: int, work: Workspace) -> None:
    """Sum A over the neighbours of one atom."""
    species, start, neighbour = around.species, around.start, around.neighbour
    radial, harmonic = work.radial, work.harmonic
    begin, low = start[centre], start[centre]
    for kind in range(len(functions.component_start) - 1):
        high = low
        while high < start[centre + 1] and species[neighbour[high]] == kind:
            high += 1
        first, end = low - begin, high - begin
        for component in range(functions.component_start[kind], functions.component_start[kind + 1]):
            lm, k = functions.component_lm[component], functions.component_radial[component]
            size, one, two = radial[k, 0, first:end], harmonic[lm, 0, 0, first:end], harmonic[lm, 1, 0, first:end]
            a = b = 0.0
            for at in range(end - first):
                a += size[at] * one[at]
                b += size[at] * two[at]
            work.real[component, lane] = a
            work.imaginary[component, lane] = b
        low = high


def _changes(functions: FunctionArrays, around: Neighbours, centre: int, lane: int, work: Workspace) -> None:
    """Lay out how each channel changes with the neighbours of one atom."""
    species, start, neighbour = around.species, around.start, around.neighbour
    radial, harmonic, along, scratch, column = work.radial, work.harmonic, work.along, work.scratch, work.column
    begin, low = start[centre], start[centre]
    for kind in range(len(functions.component_start) - 1):
        high = low
        while high < start[centre + 1] and species[neighbour[high]] == kind:
            high += 1
        left, right = work.first_column[lane, kind], work.first_column[lane, kind + 1]
        first, end, last = low - begin, high - begin, right - _CENTRE
        for component in range(functions.component_start[kind], functions.component_start[kind + 1]):
            lm, k = functions.component_lm[component], functions.component_radial[component]
            for part in range(2):
                channel = functions.real_channel[component]
                if part == 1:
                    channel = functions.imaginary_channel[component]
                    if channel < 0:
                        break
                row = work.changes[lane, channel]
                row[left:right] = 0.0
                size, slope = radial[k, 0, first:end], radial[k, 1, first:end]
                turn = harmonic[lm, part, 0, first:end]
                for axis in range(3):
                    bend, direction = harmonic[lm, part, 1 + axis, first:end], along[axis, first:end]
                    whole, x, y, z = 0.0, 0.0, 0.0, 0.0
                    for at in range(end - first):
                        g = slope[at] * turn[at] * direction[at] + size[at] * bend[at]
                        scratch[at] = g
                        whole += g
                        x += g * along[3, first + at]
                        y += g * along[4, first + at]
                        z += g * along[5, first + at]
                    for at in range(end - first):
                        row[column[first + at, axis]] -= scratch[at]  # a force: minus the derivative
                    row[last + axis] = whole
                    if axis == 0:
                        row[last + 3] = x
                    elif axis == 1:
                        row[last + 4] = y
                        row[last + 8] = x
                    else:
                        row[last + 5] = z
                        row[last + 6] = y
                        row[last + 7] = x
        low = high


def _products(
    functions: FunctionArrays,
    v: int,
    slot: int,
    real: FloatArray,
    imaginary: FloatArray,
    before: FloatArray,
    after: FloatArray,
    values: FloatArray,
    by_real: FloatArray,
    by_imaginary: FloatArray,
) -> None:
    """A function of some atoms, and its derivatives with respect to the parts of each component it uses."""
    order, uses = functions.order[v], functions.uses_start[v]
    for lane in range(_LANES):
        values[slot, lane] = 0.0
    for place in range(functions.uses_start[v + 1] - uses):
        for lane in range(_LANES):
            by_real[slot, place, lane] = 0.0
            by_imaginary[slot, place, lane] = 0.0
    for term in range(functions.term_start[v], functions.term_start[v + 1]):
        coefficient = functions.coefficient[term]
        first = functions.factor_start[v] + (term - functions.term_start[v]) * order
        place, sign = functions.factor[first], functions.sign[first]
        component = functions.uses[uses + place]
        for lane in range(_LANES):  # before[t] is the product of the factors up to t, after of those behind t
            before[0, 0, lane] = coefficient * real[component, lane]
            before[1, 0, lane] = coefficient * sign * imaginary[component, lane]
            after[0, lane] = 1.0
            after[1, lane] = 0.0
        for t in range(1, order):
            component, sign = functions.uses[uses + functions.factor[first + t]], functions.sign[first + t]
            for lane in range(_LANES):
                a, b = real[component, lane], sign * imaginary[component, lane]
                c, d = before[0, t - 1, lane], before[1, t - 1, lane]
                before[0, t, lane] = a * c - b * d
                before[1, t, lane] = a * d + b * c
        for lane in range(_LANES):
            values[slot, lane] += before[0, order - 1, lane]
        for t in range(order - 1, 0, -1):
            place, sign = functions.factor[first + t], functions.sign[first + t]
            component = functions.uses[uses + place]
            for lane in range(_LANES):
                c, d = before[0, t - 1, lane], before[1, t - 1, lane]
                e, f = after[0, lane], after[1, lane]
                by_real[slot, place, lane] += c * e - d * f
                by_imaginary[slot, place, lane] -= sign * (c * f + d * e)
                a, b = real[component, lane], sign * imaginary[component, lane]
                after[0, lane] = a * e - b * f
                after[1, lane] = a * f + b * e
        place, sign = functions.factor[first], functions.sign[first]
        for lane in range(_LANES):
            by_real[slot, place, lane] += coefficient * after[0, lane]
            by_imaginary[slot, place, lane] -= coefficient * sign * after[1, lane]


def _spread(
    functions: FunctionArrays,
    v: int,
    slot: int,
    lane: int,
    by_real: FloatArray,
    by_imaginary: FloatArray,
    changes: FloatArray,
    first_column: IntArray,
    target: IntArray,
    scratch: FloatArray,
    factor: FloatArray,
    channel: IntArray,
    rows: FloatArray,
) -> None:
    """Multiply the derivatives of a function with the changes of its components, species by species."""
    place, uses = 0, functions.uses_start[v]
    n_uses = functions.uses_start[v + 1] - uses
    for kind in range(first_column.shape[1] - 1):
        n = 0
        while place < n_uses and functions.uses[uses + place] < functions.component_start[kind + 1]:
            component = functions.uses[uses + place]
            factor[n], channel[n] = by_real[slot, place, lane], functions.real_channel[component]
            n += 1
            if functions.imaginary_channel[component] >= 0:
                factor[n], channel[n] = (
                    by_imaginary[slot, place, lane],
                    functions.imaginary_channel[component],
                )
                n += 1
            place += 1
        if n == 0:
            continue
        low, high = first_column[lane, kind], first_column[lane, kind + 1]
        width, row, total, goes = high - low, rows[v], scratch[: high - low], target[lane, low:high]
        total[:] = 0.0
        while n % _AT_ONCE:
            factor[n], channel[n] = 0.0, channel[n - 1]
            n += 1
        for at in range(0, n, _AT_ONCE):  # several at a time: fewer passes over the total
            a, b, c, d = factor[at], factor[at + 1], factor[at + 2], factor[at + 3]
            w, x = changes[lane, channel[at], low:high], changes[lane, channel[at + 1], low:high]
            y, z = changes[lane, channel[at + 2], low:high], changes[lane, channel[at + 3], low:high]
            for column in range(width):
                total[column] += a * w[column] + b * x[column] + c * y[column] + d * z[column]
        for column in range(width):
            row[goes[column]] += total[column]
