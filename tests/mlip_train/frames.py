"""Small DFT results, and the text that DFT codes would have written about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Ry

from mlip_train.atoms.structure import Structure
from mlip_train.intake.frame_check import FrameRules, IsolatedAtom, check_frame
from mlip_train.records.refusal import Refusal

ANYTHING = FrameRules(elements=None, cutoff=5.5, min_distance=0.5, max_force=100.0, use_isolated_atoms=False)
SILICON_ONLY = ANYTHING.model_copy(update={"elements": ("Si",)})


def with_results(atoms: Atoms, **results: Any) -> Atoms:
    """Attach results as they are, sensible or not."""
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results = results
    return atoms


def crystal(symbols: str = "Si2", *, a: float = 5.44, energy: Any = -10.0, **results: Any) -> Atoms:
    """Two atoms of the diamond structure; another lattice constant makes another geometry."""
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * a / 2
    atoms = Atoms(symbols, scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25]], cell=cell, pbc=True)
    forces = [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]]
    return with_results(atoms, **{"energy": energy, "forces": np.array(forces)} | results)


def cluster(symbols: str = "Si2", *, distance: float = 2.2, energy: float = -8.0) -> Atoms:
    """A row of atoms in open space."""
    atoms = Atoms(symbols)
    atoms.positions[:, 0] = distance * np.arange(len(atoms))
    return with_results(atoms, energy=energy, forces=np.zeros((len(atoms), 3)))


def check(atoms: Atoms, *, converged: bool | None = None, **rules: Any) -> Structure | IsolatedAtom | Refusal:
    """Check a frame by the rules of a silicon campaign."""
    return check_frame(atoms, SILICON_ONLY.model_copy(update=rules), "run/OUTCAR", 3, converged=converged)


def structure(atoms: Atoms, *, source: str = "a.extxyz", frame: int = 0) -> Structure:
    """A frame that passes the check."""
    checked = check_frame(atoms, ANYTHING, source, frame)
    assert isinstance(checked, Structure), checked
    return checked


def reason(atoms: Atoms, **rules: Any) -> str:
    """Why the check refuses a frame."""
    refusal = check(atoms, **rules)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


def vasprun(frames: Sequence[Atoms], electronic_steps: Sequence[int] | None = None, *, nelm: int = 60) -> str:
    """A vasprun.xml of an ionic run."""
    steps = electronic_steps or [12] * len(frames)
    atoms = "".join(f"<rc><c>{s} </c><c>   1</c></rc>" for s in frames[0].symbols)
    calculations = "".join(_vasp_calculation(f, n) for f, n in zip(frames, steps, strict=True))
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0  </i></generator>
 <incar><i type="int" name="NELM">    {nelm}</i></incar>
 <kpoints>
  <varray name="kpointlist" ><v>       0.00000000       0.00000000       0.00000000 </v></varray>
  <varray name="weights" ><v>       1.00000000 </v></varray>
 </kpoints>
 <parameters><separator name="electronic" ><i type="int" name="NELM">    {nelm}</i>
  <i type="int" name="NELMIN">     2</i></separator></parameters>
 <atominfo><array name="atoms" ><set>{atoms}</set></array></atominfo>
 <structure name="initialpos" >{_vasp_geometry(frames[0])}</structure>
{calculations}</modeling>
"""


def _vasp_calculation(atoms: Atoms, n_steps: int) -> str:
    results = atoms.calc.results
    energy = f'<energy><i name="e_fr_energy"> {results["energy"]:.8f} </i><i name="e_0_energy"> {results["energy"]:.8f} </i></energy>'  # fmt: skip # noqa: E501
    stress = ""
    if "stress" in results:
        xx, yy, zz, yz, xz, xy = -np.array(results["stress"]) / GPa * 10
        stress = _vasp_array("stress", [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return (
        f" <calculation>\n{f'  <scstep>{energy}</scstep>{chr(10)}' * n_steps}"
        f"  <structure>{_vasp_geometry(atoms)}</structure>\n"
        f"{_vasp_array('forces', results['forces'])}{stress}  {energy}\n </calculation>\n"
    )


def _vasp_geometry(atoms: Atoms) -> str:
    basis, positions = _vasp_array("basis", atoms.cell), _vasp_array("positions", atoms.get_scaled_positions())
    return f"<crystal>{basis}</crystal>{positions}"


def _vasp_array(name: str, rows: Any) -> str:
    lines = "".join(f"<v> {x:.8f} {y:.8f} {z:.8f} </v>" for x, y, z in rows)
    return f'<varray name="{name}" >{lines}</varray>\n'


def outcar(frames: Sequence[Atoms], converged: Sequence[bool | None] | None = None) -> str:
    """An OUTCAR, silicon only; VASP 5 tells of a failure by leaving out the line (None)."""
    converged = converged or [True] * len(frames)
    header = f""" vasp.6.3.0 20Jan22 (build Feb 16 2022 17:18:48) complex
 POTCAR:    PAW_PBE Si 05Jan2001
 POTCAR:    PAW_PBE Si 05Jan2001
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8
   ions per type =              {len(frames[0])}
   ISPIN  =      1    spin polarized calculation?
   EDIFF  = 0.1E-05   stopping-criterion for ELM
 k-points in reciprocal lattice and weights: Automatic mesh
   0.00000000  0.00000000  0.00000000       1.000
"""
    return header + "".join(
        _outcar_step(n, *step) for n, step in enumerate(zip(frames, converged, strict=True), 1)
    )


def _outcar_step(number: int, atoms: Atoms, converged: bool | None) -> str:
    results = atoms.calc.results
    end = {
        True: f"{'-' * 24} aborting loop because EDIFF is reached {'-' * 40}",
        False: f"{'-' * 24} aborting loop EDIFF was not reached (unconverged)  {'-' * 28}",
        None: "",
    }[converged]
    xx, yy, zz, yz, xz, xy = -np.array(results.get("stress", np.zeros(6))) / GPa * 10
    cell = "\n".join("".join(f"{x:13.9f}" for x in (*row, *row)) for row in atoms.cell)
    rows = np.hstack([atoms.positions, results["forces"]])
    table = "\n".join("".join(f"{x:14.6f}" for x in row) for row in rows)
    return f"""
--------------------------------------- Iteration {number:6d}(   1)  ---------------------------------------
{end}
  in kB  {xx:.6f} {yy:.6f} {zz:.6f} {xy:.6f} {yz:.6f} {xz:.6f}
      direct lattice vectors                 reciprocal lattice vectors
{cell}
 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
{table}
 -----------------------------------------------------------------------------------
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       {results["energy"]:.8f} eV

  energy  without entropy=      {results["energy"]:.8f}  energy(sigma->0) =      {results["energy"]:.8f}
"""


def espresso(frames: Sequence[Atoms], converged: Sequence[bool] | None = None) -> str:
    """What pw.x prints of a relaxation at fixed cell; it prints no forces without convergence."""
    converged = converged or [True] * len(frames)
    alat = float(np.linalg.norm(frames[0].cell[0]))
    axes = "\n".join(
        f"               a({n}) = ({x:11.6f}{y:11.6f}{z:11.6f} )"
        for n, (x, y, z) in enumerate(frames[0].cell / alat, 1)
    )
    sites = "\n".join(
        f"  {n:8d}           {atom.symbol:2}  tau({n:4d}) = ({x:12.7f}{y:12.7f}{z:12.7f}  )"
        for n, atom in enumerate(frames[0], 1)
        for x, y, z in [atom.position / alat]
    )
    text = f"""
     Program PWSCF v.7.4 starts on 30Dec2024 at 16:10:39

     bravais-lattice index     =            0
     lattice parameter (alat)  =  {alat / Bohr:11.4f}  a.u.
     number of atoms/cell      =  {len(frames[0]):11d}
     number of atomic types    =            1

     celldm(1)= {alat / Bohr:.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
{axes}

   Cartesian axes

     site n.     atom                  positions (alat units)
{sites}

"""
    for number, (atoms, done) in enumerate(zip(frames, converged, strict=True)):
        if number:
            text += "ATOMIC_POSITIONS (angstrom)\n"
            text += "".join(f"{a.symbol:2} {a.x:19.10f}{a.y:19.10f}{a.z:19.10f}\n" for a in atoms) + "\n"
        text += _espresso_step(atoms, done)
    return text + "   JOB DONE.\n"


def _espresso_step(atoms: Atoms, converged: bool) -> str:
    results = atoms.calc.results
    text = """     End of self-consistent calculation

     Number of k-points >= 100: set verbosity='high' to print the bands.

"""
    if not converged:
        energy = f"     total energy              = {results['energy'] / Ry:16.8f} Ry\n"
        return text + energy + "\n     convergence NOT achieved after 100 iterations: stopping\n\n"
    forces = "".join(
        f"     atom {n:4d} type  1   force = {x:14.8f}{y:14.8f}{z:14.8f}\n"
        for n, (x, y, z) in enumerate(np.array(results["forces"]) / (Ry / Bohr), 1)
    )
    return f"""{text}!    total energy              = {results["energy"] / Ry:16.8f} Ry

     convergence has been achieved in  11 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

{forces}
     Total force =     0.000000     Total SCF correction =     0.000007

"""
