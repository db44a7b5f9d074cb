"""Energy against volume of the bulk structures in the data: one minimum, and a positive bulk modulus."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.eos import EquationOfState
from ase.units import GPa
from scipy.signal import find_peaks

from mlip_train.assess.compositions import Rank, best_by_composition, energy_per_atom, is_bulk
from mlip_train.assess.subject import Subject
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.records.checks import Check, Curve, Panel

__all__ = ["check", "check_volume"]

_LARGEST: Final = 64  # atoms
_COMPOSITIONS: Final = 5
_REACH: Final = 6  # % of the lattice constant to either side of the minimum, or a sixth of the volume
_NARROWEST, _WIDEST = 80, 125  # %, half and twice the volume; a minimum beyond has nothing to do with the data
_AROUND: Final = 3  # points on either side of the minimum, for a fit that is not an extrapolation
_RIPPLE: Final = 0.001  # eV/atom; shallower wells than DFT energies are converged to are none
_ADVICE: Final = "Add stretched and compressed cells of this composition to the data"


@dataclass(frozen=True)
class _Scan:
    """Energies of a structure under isotropic strain, without relaxing it."""

    composition: str
    scales: tuple[int, ...]  # % of its lattice vectors
    volumes: FloatArray  # Å³/atom, (scales,)
    energies: FloatArray  # eV/atom, (scales,)

    @property
    def lowest(self) -> int:
        """Index of the lowest energy."""
        return int(np.argmin(self.energies))

    @property
    def minima(self) -> list[int]:
        """Indices of all minima; an end towards which the energy falls is one, too."""
        wall = self.energies.max() + 1.0
        peaks, _ = find_peaks(-np.concatenate([[wall], self.energies, [wall]]), prominence=_RIPPLE)
        return [int(peak) - 1 for peak in peaks]


@dataclass(frozen=True)
class _Fit:
    """An equation of state (Birch, Phys. Rev. 71, 809, 1947), fitted near the minimum."""

    volume: float  # Å³/atom
    bulk_modulus: float  # GPa
    curve: tuple[FloatArray, FloatArray]  # Å³/atom and eV/atom


def check(subject: Subject, rule: bool) -> Check:
    """Strain the crystals of the dataset; see `check_volume`."""
    return check_volume(subject.calculator, subject.stored())


def check_volume(calculator: Any, structures: Iterable[Structure]) -> Check:
    """Strain the best known bulk structure of each of the most frequent compositions.

    Parameters
    ----------
    calculator : ASE calculator
        Of the file that MD codes run.
    structures : iterable of Structure
        The data; streamed. Bulk structures of up to 64 atoms count.

    Returns
    -------
    Check
        Passed when each energy has one minimum against volume, and the bulk modulus there is positive; None when
        the data hold no such structure.
    """
    frequent = best_by_composition(structures, _rank)[:_COMPOSITIONS]
    if not frequent:
        return Check(
            name="volume", passed=None, finding=f"The data hold no bulk structure of up to {_LARGEST} atoms"
        )
    right, wrong = [], []
    numbers: dict[str, float] = {}
    panels = []
    for found in frequent:
        scan = _scan(calculator, found.composition, found.best)
        fit = _fit(scan)
        if (reason := _reason_against(scan, fit)) is not None:
            wrong.append(f"{found.composition} ({found.best.source} frame {found.best.frame}): {reason}")
        elif fit is not None:
            right.append(f"{found.composition} {fit.volume:.2f} Å³/atom, bulk modulus {fit.bulk_modulus:.3g} GPa")
        if fit is not None:
            numbers[f"volume_A3_per_atom_{found.composition}"] = fit.volume
            numbers[f"bulk_modulus_GPa_{found.composition}"] = fit.bulk_modulus
        panels.append(_panel(scan, fit))
    if wrong:
        return _failed(wrong, numbers, panels)
    sentence = f"One minimum of the energy against volume: {'; '.join(right)}"
    return Check(name="volume", passed=True, finding=sentence, numbers=numbers, panels=tuple(panels))


def _failed(wrong: list[str], numbers: dict[str, float], panels: list[Panel]) -> Check:
    finding = f"{'; '.join(wrong)}. {_ADVICE}"
    return Check(name="volume", passed=False, finding=finding, numbers=numbers, panels=tuple(panels))


def _rank(structure: Structure) -> Rank | None:
    if len(structure.numbers) > _LARGEST or not is_bulk(structure):
        return None
    return energy_per_atom(structure), len(structure.numbers)


def _scan(calculator: Any, composition: str, structure: Structure) -> _Scan:
    """Widen the range until the minimum lies well inside: the best structure known may itself be strained."""
    energies: dict[int, float] = {}
    low, high = 100 - _REACH, 100 + _REACH
    while True:
        for scale in range(low, high + 1):
            if scale not in energies:
                energies[scale] = _energy(calculator, structure, scale / 100)
        if not np.isfinite(list(energies.values())).all():
            break
        lowest = min(energies, key=lambda scale: energies[scale])
        wider = max(_NARROWEST, min(low, lowest - _AROUND)), min(_WIDEST, max(high, lowest + _AROUND))
        if wider == (low, high):
            break
        low, high = wider
    scales = tuple(sorted(energies))
    volumes = float(structure.volume_per_atom or 0.0) * (np.array(scales) / 100) ** 3
    return _Scan(composition, scales, volumes, np.array([energies[scale] for scale in scales]))


def _energy(calculator: Any, structure: Structure, scale: float) -> float:
    """Compute the energy in eV/atom with all lengths scaled."""
    atoms = structure.to_atoms()
    atoms.set_cell(scale * structure.cell, scale_atoms=True)
    calculator.calculate(atoms)
    return float(calculator.results["energy"]) / len(atoms)


def _fit(scan: _Scan) -> _Fit | None:
    """None where there is no minimum to fit."""
    if not np.isfinite(scan.energies).all() or scan.lowest in (0, len(scan.scales) - 1):
        return None
    near = np.abs(np.array(scan.scales) - scan.scales[scan.lowest]) <= _REACH
    state = EquationOfState(scan.volumes[near], scan.energies[near], eos="birchmurnaghan")
    try:
        volume, _, bulk_modulus = state.fit(warn=False)
    except (RuntimeError, ValueError):  # scipy's, where no such curve comes near the energies
        return None
    _, _, _, _, volumes, energies, _, _ = state.getplotdata()
    if not np.isfinite([volume, bulk_modulus, *energies]).all():
        return None
    return _Fit(float(volume), float(bulk_modulus / GPa), (volumes, energies))


def _reason_against(scan: _Scan, fit: _Fit | None) -> str | None:
    if not np.isfinite(scan.energies).all():
        return f"the energy at {scan.volumes[~np.isfinite(scan.energies)][0]:.3g} Å³/atom is not a finite number"
    between = f"between {scan.volumes[0]:.3g} and {scan.volumes[-1]:.3g} Å³/atom"
    minima = scan.minima
    if len(minima) > 1:
        places = " and ".join(f"{volume:.3g}" for volume in scan.volumes[minima])
        return f"the energy has {len(minima)} minima {between}, at {places} Å³/atom"
    if minima[0] in (0, len(scan.scales) - 1):
        return f"the energy has no minimum {between}"
    if fit is None or not scan.volumes[0] < fit.volume < scan.volumes[-1]:
        return f"the energies {between} follow no equation of state"
    if fit.bulk_modulus <= 0:
        return f"the bulk modulus is {fit.bulk_modulus:.3g} GPa"
    return None


def _panel(scan: _Scan, fit: _Fit | None) -> Panel:
    finite = np.isfinite(scan.energies)
    zero = scan.energies[finite].min(initial=np.inf)
    curves = [_curve("computed", scan.volumes[finite], scan.energies[finite] - zero, "points")]
    if fit is not None:
        curves.append(_curve("Birch-Murnaghan", fit.curve[0], fit.curve[1] - zero, "line"))
    return Panel(
        title=scan.composition, x_label="volume (Å³/atom)", y_label="energy (eV/atom)", curves=tuple(curves)
    )


def _curve(label: str, x: FloatArray, y: FloatArray, style: Any) -> Curve:
    return Curve(label=label, x=tuple(np.round(x, 4).tolist()), y=tuple(np.round(y, 6).tolist()), style=style)
