"""Short MD at constant energy: it stays constant, and the atoms stay together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from mlip_train.assess.compositions import Found, Rank, best_by_composition, energy_per_atom, is_bulk
from mlip_train.assess.subject import Subject
from mlip_train.atoms.neighbours import nearest_neighbour_distances, neighbours
from mlip_train.atoms.pairs import contact_distance, pair_name
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.config.assessment import ShortMD
from mlip_train.records.checks import Check, Curve, Panel

__all__ = ["check", "check_nve", "choose_start"]

IntArray = NDArray[np.int_]

_FEWEST: Final = 32  # atoms, to which a cell is repeated; it gets at most twice as many
_MOST: Final = 250  # atoms to start with, where there is a choice
_SEED: Final = 1
_GRADE_EVERY: Final = 20  # steps; grading takes several times as long as a step
_LOOK_EVERY: Final = 5  # steps, at whether atoms are lost or collide
_POINTS: Final = 500  # of a curve, at most

# The error of velocity Verlet oscillates and does not grow. With steps of 1 fs from 300 K, 200 of them, the total
# energy strays by 0.1 % of the kinetic energy in silicon and copper, 0.6 % if their atoms weighed as little as
# hydrogen, 7 % in silicon with 8 fs; the fitted drift is below 0.1 meV/atom/ps in all of them.
_EXCURSION: Final = 0.1  # of the largest kinetic energy
_DRIFT: Final = 1.0  # meV/atom/ps at 300 K, and proportional to the temperature
_LEAST_TIME: Final = 0.1  # ps, some vibrations; in less nothing but oscillation is seen
_RELEASED: Final = 1.0  # eV/atom of kinetic energy gained; about what breaking up a crystal takes
_LEAP: Final = 0.5  # Å in one step, with which atoms run through each other unseen
_VIOLENT: Final = 100.0  # eV/Å, which a shorter time step does not mend; by default the data hold none as large


@dataclass
class _Course:
    """What was recorded of a run; all per step, apart from the grades."""

    times: list[float] = field(default_factory=list)  # ps
    energies: list[float] = field(default_factory=list)  # total, eV/atom
    kinetic: list[float] = field(default_factory=list)  # eV/atom
    grades: list[tuple[float, float]] = field(default_factory=list)  # ps, largest of all atoms
    hottest: float = 0.0  # eV/atom of kinetic energy, largest so far

    def add(self, time: float, potential: float, kinetic: float) -> None:
        """Record a step: ps, eV/atom, eV/atom."""
        self.times.append(time)
        self.energies.append(potential + kinetic)
        self.kinetic.append(kinetic)
        self.hottest = max(self.hottest, kinetic)

    @property
    def strayed(self) -> float:
        """How far the total energy is off its start, meV/atom."""
        return 1e3 * (self.energies[-1] - self.energies[0])

    @property
    def change(self) -> FloatArray:
        """Total energy since the start, meV/atom; shape (steps + 1,)."""
        return 1e3 * (np.array(self.energies) - self.energies[0])

    @property
    def temperatures(self) -> FloatArray:
        """Temperature in K; shape (steps + 1,)."""
        return np.array(self.kinetic) / (1.5 * units.kB)

    @property
    def drift(self) -> float:
        """Slope of a line through the total energy, meV/atom/ps."""
        return float(np.polyfit(self.times, self.change, 1)[0]) if len(self.times) > 2 else 0.0


class _Watch:
    """Sees when atoms are lost or collide, compared with the start."""

    def __init__(self, atoms: Atoms, cutoff: float) -> None:
        self._cutoff = cutoff
        self._had_neighbour = np.isfinite(nearest_neighbour_distances(atoms, cutoff))
        self._largest = max(contact_distance(f"{symbol}-{symbol}") for symbol in set(atoms.symbols))

    def wrong(self, atoms: Atoms) -> str | None:
        """What is wrong with the geometry, in words."""
        lost = self._had_neighbour & np.isinf(nearest_neighbour_distances(atoms, self._cutoff))
        if lost.any():
            atom = int(lost.argmax())
            return f"atom {atom} ({atoms.symbols[atom]}) lost its neighbours within {self._cutoff:g} Å"
        first, second, distances, _ = neighbours(atoms, self._largest / 2)
        for one, other, distance in zip(first, second, distances, strict=True):
            touching = contact_distance(pair_name(atoms.symbols[one], atoms.symbols[other]))
            if distance < touching / 2:
                return (
                    f"atoms {one} and {other} ({atoms.symbols[one]} and {atoms.symbols[other]}) came as close as "
                    f"{distance:.2f} Å, less than half the {touching:.2f} Å at which they touch"
                )
        return None


def check(subject: Subject, rule: ShortMD) -> Check:
    """Run MD from a test structure; see `check_nve`."""
    start, cutoff = choose_start(subject.tried_on()), subject.plan.config.basis.cutoff
    return check_nve(subject.calculator, subject.grading, start, rule, cutoff)


def check_nve(
    calculator: Any, grading: Any | None, start: Structure | None, rule: ShortMD, cutoff: float
) -> Check:
    """Run velocity Verlet from a structure of the data and stop as soon as something is wrong.

    Parameters
    ----------
    calculator : ASE calculator
        Of the file that MD codes run.
    grading : ASE calculator or None
        With `results["gamma"]`, asked every twenty steps. Grades are reported, not judged: where the potential
        extrapolates it may still be right.
    start : Structure or None
        See `choose_start`. A small periodic cell is repeated.
    rule : ShortMD
        Temperature of the velocities, number and length of the steps.
    cutoff : float
        Of the potential, in Å. An atom with no other within it is lost.

    Returns
    -------
    Check
        Failed when energy or forces are not finite, an atom is lost, two come closer than half their contact
        distance, or the total energy does not stay constant; None when there is nothing to start from.
    """
    if start is None:
        return Check(name="nve", passed=None, finding="The data hold no structure to begin MD from")
    atoms = _warm(start, rule)
    atoms.calc = calculator
    course = _Course()
    reason = _run(atoms, grading, rule, cutoff, course)
    began = f"from {start.source} frame {start.frame} ({atoms.get_chemical_formula()})"
    set_up = f"MD at constant energy {began}, {rule.temperature:g} K, {rule.timestep:g} fs"
    if reason is None:
        finding = (
            f"{set_up}, {rule.steps} steps: no atom lost, total energy within {np.abs(course.change).max():.2g} "
            f"meV/atom, drift {course.drift:.1g} meV/atom/ps"
        )
    else:
        finding = f"{set_up}: {reason}"
    return Check(
        name="nve",
        passed=reason is None,
        finding=f"{finding}{_graded(course)}",
        numbers=_numbers(course),
        panels=_panels(course),
    )


def choose_start(structures: Iterable[Structure]) -> Structure | None:
    """A structure to begin MD from: of many elements, of a frequent composition, and there the lowest in energy.

    Bulk is preferred to everything else, and up to 250 atoms to more. None when there are no structures.
    """
    found = best_by_composition(structures, _rank)
    return max(found, key=_fitness).best if found else None


def _fitness(found: Found) -> tuple[bool, int, int, int]:
    is_not_bulk, too_many, *_ = found.rank
    return not is_not_bulk, -too_many, len(set(found.best.symbols)), found.count


def _rank(structure: Structure) -> Rank:
    n_atoms = len(structure.numbers)
    return not is_bulk(structure), max(0, n_atoms - _MOST), energy_per_atom(structure), n_atoms


def _warm(start: Structure, rule: ShortMD) -> Atoms:
    """The structure, repeated along its shortest vectors, with thermal velocities that move it nowhere."""
    atoms = start.to_atoms()
    if atoms.pbc.all():
        atoms *= _repeats(atoms)
    thermalize_momenta(atoms, rule.temperature, exact_temperature=True, rng=np.random.default_rng(_SEED))
    # what they take away is not put back: of a molecule little is left that could take it up
    Stationary(atoms, preserve_temperature=False)
    if not atoms.pbc.any():
        with np.errstate(invalid="ignore"):  # about its own axis a straight molecule has no moment of inertia
            ZeroRotation(atoms, preserve_temperature=False)
    return atoms


def _repeats(atoms: Atoms) -> IntArray:
    repeats, lengths = np.ones(3, dtype=int), atoms.cell.lengths()
    while len(atoms) * repeats.prod() < _FEWEST:
        repeats[np.argmin(repeats * lengths)] += 1
    return repeats


def _run(atoms: Atoms, grading: Any | None, rule: ShortMD, cutoff: float, course: _Course) -> str | None:
    """Fill the course; why it failed, with what to do, or None."""
    watch = _Watch(atoms, cutoff)
    dynamics = VelocityVerlet(atoms, rule.timestep * units.fs)
    for step in range(rule.steps + 1):
        if step:
            dynamics.step()
        time, is_last = 1e-3 * step * rule.timestep, step == rule.steps
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        if not np.isfinite(energy) or not np.isfinite(forces).all():
            return f"after {time:.3g} ps energy or forces are not finite numbers. {_more_data(rule)}"
        course.add(time, energy / len(atoms), atoms.get_kinetic_energy() / len(atoms))
        unsteady = _unsteady(atoms, forces, rule, course)
        if (
            unsteady or is_last or step % _LOOK_EVERY == 0
        ):  # what broke it is reported rather than what came of that
            parted = watch.wrong(atoms)
            if wrong := f"{parted}. {_more_data(rule)}" if parted else unsteady:
                return f"after {time:.3g} ps {wrong}"
        if grading is not None and (is_last or step % _GRADE_EVERY == 0):
            grading.calculate(atoms)
            if np.isfinite(gamma := float(np.max(grading.results["gamma"]))):  # others cannot be stored
                course.grades.append((time, gamma))
    return _drifting(course, rule)


def _unsteady(atoms: Atoms, forces: FloatArray, rule: ShortMD, course: _Course) -> str | None:
    """Whether the newest step of the course, or the step after it, is out of bounds."""
    largest = float(np.linalg.norm(forces, axis=1).max())
    advice = _more_data(rule) if largest > _VIOLENT else _shorter(rule)
    if (leap := _next_leap(atoms, forces, rule)) > _LEAP:
        return f"an atom would move by {leap:.2g} Å in one step (forces up to {largest:.3g} eV/Å). {advice}"
    if course.kinetic[-1] - course.kinetic[0] > _RELEASED:
        return f"the atoms are {course.temperatures[-1]:.0f} K hot. {_more_data(rule)}"
    if abs(course.strayed) > 1e3 * _EXCURSION * course.hottest:
        return f"the total energy is {course.strayed:.3g} meV/atom off its start. {advice}"
    return None


def _next_leap(atoms: Atoms, forces: FloatArray, rule: ShortMD) -> float:
    """How far an atom goes in the next step, at most, in Å."""
    step = rule.timestep * units.fs
    going = step * atoms.get_velocities() + 0.5 * step**2 * forces / atoms.get_masses()[:, None]
    return float(np.linalg.norm(going, axis=1).max())


def _drifting(course: _Course, rule: ShortMD) -> str | None:
    temperature = max(rule.temperature, float(course.temperatures.mean()))
    if course.times[-1] < _LEAST_TIME or abs(course.drift) <= _DRIFT * temperature / 300:
        return None
    return f"the total energy drifts by {course.drift:.3g} meV/atom/ps. {_shorter(rule)}"


def _more_data(rule: ShortMD) -> str:
    return (
        "Add structures in which atoms are displaced and close to each other, such as snapshots of MD at "
        f"{rule.temperature:g} K or more, and train again"
    )


def _shorter(rule: ShortMD) -> str:
    return (
        f"No atom is lost and none collide, so the time step may be too long: set physics.nve.timestep below "
        f"{rule.timestep:g}. If that changes nothing, the forces do not belong to the energy: add more data"
    )


def _graded(course: _Course) -> str:
    if not course.grades:
        return ""
    time, gamma = max(course.grades, key=lambda graded: graded[1])
    return f". The largest gamma on the way, which is not judged, is {gamma:.2g} at {time:.3g} ps"


def _numbers(course: _Course) -> dict[str, float]:
    numbers = {}
    if course.energies:
        numbers["drift_meV_per_atom_per_ps"] = course.drift
        numbers["excursion_meV_per_atom"] = float(np.abs(course.change).max())
        numbers["highest_temperature_K"] = float(course.temperatures.max())
    if course.grades:
        numbers["gamma_max"] = max(gamma for _, gamma in course.grades)
    return numbers


def _panels(course: _Course) -> tuple[Panel, ...]:
    if not course.energies:
        return ()
    panels = [
        _panel("Total energy", "change since the start (meV/atom)", course.times, course.change),
        _panel("Temperature", "temperature (K)", course.times, course.temperatures),
    ]
    if course.grades:
        times, grades = zip(*course.grades, strict=True)
        panels.append(_panel("Extrapolation grade", "largest gamma", times, np.array(grades)))
    return tuple(panels)


def _panel(title: str, y_label: str, times: Iterable[float], values: FloatArray) -> Panel:
    every = -(-len(values) // _POINTS)
    x, y = tuple(np.round(list(times), 6).tolist()), tuple(np.round(values, 6).tolist())
    return Panel(
        title=title,
        x_label="time (ps)",
        y_label=y_label,
        curves=(Curve(label=title.lower(), x=x[::every], y=y[::every]),),
    )
