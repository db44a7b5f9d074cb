"""Potentials to begin a fit from: a parent that the engine really continues, and the basis to grow into.

The engine has its own way of growing a potential (`initial_potential`), which does nothing, and says it
failed, when the target is not larger; and continues nothing when a ladder is asked for. So the target
is built here, filled with what the parent knows, and continued as a whole.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.ace.library import BBasisConfiguration, create_multispecies_basis_config
from mlip_train.base.files import atomic_path

__all__ = ["differences", "grow", "has_idle_density", "prepare_start", "seed_second_density", "write_target"]

# What two blocks must have in common for the functions of one to mean the same in the other.
_RADIAL: Final = {
    "rcutij": "cutoff",
    "dcutij": "width of the cutoff",
    "NameOfCutoffFunctionij": "cutoff function",
    "radbase": "radial basis",
    "radparameters": "radial parameters",
}
_EMBEDDING: Final = {"npoti": "embedding", "ndensityi": "embedding", "fs_parameters": "embedding"}


def write_target(potential_section: dict[str, Any], target: Path) -> None:
    """Write the B-basis that an input.yaml's `potential` section describes, all coefficients zero."""
    with atomic_path(target) as temporary:
        create_multispecies_basis_config(potential_section).save(str(temporary))


def prepare_start(parent: Path, start: Path) -> None:
    """Write a copy of a parent B-basis that the engine really continues from.

    Removed are the marks of a finished fit, which would make the engine do nothing, and the core
    repulsion, which trainer and exported file treat differently.
    """
    configuration = load_bbasis(parent)
    _strip(configuration)
    with atomic_path(start) as temporary:
        configuration.save(str(temporary))


def differences(parent: Path, target: Path) -> list[str]:
    """What keeps a parent's radial functions from being used in a target basis; empty if nothing does."""
    old, new = _blocks(load_bbasis(parent)), _blocks(load_bbasis(target))
    found = []
    for name, block in old.items():
        for attributes, compared in ((_RADIAL, name in new), (_EMBEDDING, name in new and _is_unary(block))):
            if compared:
                found += [what for key, what in attributes.items() if not _same(block, new[name], key)]
        if name in new and block.nradbaseij > new[name].nradbaseij:
            found.append(f"number of radial functions of {name} (smaller now)")
    return list(dict.fromkeys(found))


def grow(parent: Path, target: Path, start: Path) -> tuple[int, int]:
    """Fill a target basis with the functions and radial functions of a parent, and write it.

    Functions that only the target has keep the coefficient 0, so a parent whose functions are all in
    the target predicts the same as before.

    Returns
    -------
    tuple of int
        Functions that the target has beyond the parent's, and functions of the parent that it lacks.

    Raises
    ------
    EngineError
        When one of the files is not a readable B-basis.
    """
    old, configuration = load_bbasis(parent), load_bbasis(target)
    _strip(old)
    parents, n_known = _blocks(old), 0
    blocks = configuration.funcspecs_blocks
    for block in blocks:
        if block.block_name in parents:
            known = parents[block.block_name]
            _carry_radials(known, block)
            n_known += _carry_functions(known, block)
    configuration.funcspecs_blocks = blocks
    for key, value in dict(old.metadata).items():
        configuration.metadata[key] = value
    with atomic_path(start) as temporary:
        configuration.save(str(temporary))
    n_old = sum(len(block.funcspecs) for block in parents.values())
    return configuration.total_number_of_functions - n_known, n_old - n_known


def has_idle_density(bbasis: Path) -> bool:
    """Whether a B-basis has a second density of which every coefficient is zero."""
    coefficients = [f.coeffs for block in load_bbasis(bbasis).funcspecs_blocks for f in block.funcspecs]
    return all(len(each) > 1 and not any(each[1:]) for each in coefficients)


def seed_second_density(bbasis: Path) -> None:
    """Give an idle second density the coefficients of the first, which is to be solved for anew.

    A second density that is exactly zero never grows: its gradient is proportional to that of the first,
    which a linear solution has made zero.
    """
    configuration = load_bbasis(bbasis)
    blocks = configuration.funcspecs_blocks
    for block in blocks:
        functions = block.funcspecs
        for function in functions:
            first, *others = function.coeffs
            function.coeffs = [0.0, first, *others[1:]]
        block.funcspecs = functions
    configuration.funcspecs_blocks = blocks
    with atomic_path(bbasis) as temporary:
        configuration.save(str(temporary))


def _strip(configuration: BBasisConfiguration) -> None:
    for mark in ("_fit_cycles", "_loss"):
        if mark in configuration.metadata:
            del configuration.metadata[mark]
    for block in configuration.funcspecs_blocks:
        if len(set(block.elements_vec)) <= 2:
            block.r_in = 0.0
            block.delta_in = 0.0
            block.inner_cutoff_type = "distance"
            block.core_rep_parameters = [0.0, 0.0]
        if _is_unary(block):
            block.rho_cut = 1e5
            block.drho_cut = 250.0


def _is_unary(block: Any) -> bool:
    return len(set(block.elements_vec)) == 1  # the list repeats the only species of a unary block


def _blocks(configuration: Any) -> dict[str, Any]:
    return {block.block_name: block for block in configuration.funcspecs_blocks}


def _same(one: Any, other: Any, key: str) -> bool:
    mine, theirs = getattr(one, key), getattr(other, key)
    if isinstance(mine, str):
        return bool(mine == theirs)
    mine, theirs = np.atleast_1d(mine), np.atleast_1d(theirs)
    return mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=1e-12)


def _carry_radials(known: Any, block: Any) -> None:
    """R_nl = Σ_k c_nlk g_k: what both know is the parent's, the rest as in a new basis."""
    old, new = np.array(known.radcoefficients), np.array(block.radcoefficients)
    if old.ndim == 3 and new.ndim == 3:
        ns, ls, ks = (slice(size) for size in np.minimum(old.shape, new.shape))
        new[ns, ls] = 0.0
        new[ns, ls, ks] = old[ns, ls, ks]
        block.radcoefficients = new.tolist()


def _carry_functions(known: Any, block: Any) -> int:
    coefficients = {_identity(function): list(function.coeffs) for function in known.funcspecs}
    functions, n_shared = block.funcspecs, 0
    for function in functions:
        mine = coefficients.get(_identity(function))
        if mine is not None:
            function.coeffs = mine
            n_shared += 1
    block.funcspecs = functions
    return n_shared


def _identity(function: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, (function.elements, function.ns, function.ls, function.LS)))
