"""The keys of the engine's `input.yaml`: which exist, and which a campaign field already sets.

The engine ignores keys that it does not know, so a misspelled one would be lost without a word.
Source: the parser of python-ace 0.4.0rc1 (`pyace/cli/pacemaker.py`, `generalfit.py`, `preparedata.py`).
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from ase.data import chemical_symbols

from mlip_train.base.frozen import nearest_key

__all__ = ["OWNED_KEYS", "check_extra"]

# Native path -> the campaign key that decides it ("-" for what a campaign never leaves open).
OWNED_KEYS: Final[dict[str, str]] = {
    "seed": "fit.seed",
    "potential.elements": "elements",
    "potential.embeddings.ALL.npot": "basis.embedding",
    "potential.embeddings.ALL.fs_parameters": "basis.embedding",
    "potential.embeddings.ALL.ndensity": "basis.embedding",
    "potential.bonds.ALL.radbase": "basis.radial_basis",
    "potential.bonds.ALL.radparameters": "basis.radial_parameters",
    "potential.bonds.ALL.rcut": "basis.cutoff",
    "potential.bonds.ALL.dcut": "-",
    "potential.bonds.ALL.r_in": "reference",
    "potential.bonds.ALL.delta_in": "reference",
    "potential.bonds.ALL.core-repulsion": "reference",
    "potential.bonds.ALL.inner_cutoff_type": "reference",
    "potential.functions.number_of_functions_per_element": "basis.functions_per_element",
    "potential.functions.ALL.nradmax_by_orders": "basis.nradmax_by_orders",
    "potential.functions.ALL.lmax_by_orders": "basis.lmax_by_orders",
    "potential.filename": "-",
    "potential.initial_potential": "-",
    "potential.reset": "-",
    "data.filename": "-",
    "data.test_filename": "-",
    "data.test_size": "test.fraction",
    "data.datapath": "-",
    "data.reference_energy": "reference_energies",
    "fit.loss.kappa": "loss_weights",
    "fit.loss.L2_coeffs": "fit.l2_regularization",
    "fit.optimizer": "fit.optimizer",
    "fit.maxiter": "fit.max_epochs",
    "fit.ladder_step": "basis.ladder_step",
    "fit.ladder_type": "basis.ladder_type",
    "fit.weighting": "fit.weighting",
    "fit.repulsion": "reference",
    "fit.min_relative_train_loss_per_iter": "fit.early_stopping",
    # would look at the test set, and crashes the engine at the last evaluation
    "fit.min_relative_test_loss_per_iter": "fit.early_stopping",
    "fit.early_stopping_patience": "fit.early_stopping",
    "fit.callbacks": "fit.max_hours",
    "backend.evaluator": "-",
    "backend.batch_size": "fit.batch_size",
}


def _values(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split())


_FOR_EACH_BLOCK: Final = {"-", "basis.embedding", "reference"}
_ANY: Final[dict[str, Any]] = {}  # below such a key the names are the user's own
_LOSS = _values("kappa L1_coeffs L2_coeffs w0_rad w1_rad w2_rad w_orth")
_EMBEDDING = _values("npot fs_parameters ndensity rho_core_cut drho_core_cut")
_FUNCTIONS = _values("nradmax_by_orders lmax_by_orders coefs_init")
_BOND = _values(
    "radbase radparameters rcut dcut NameOfCutoffFunction r_in delta_in core-repulsion inner_cutoff_type "
    "nradbase nradmax lmax"
)
_DATA = _values("filename test_filename test_size datapath reference_energy ignore_weights aug_factor")
_FIT = _values(
    "optimizer maxiter fit_cycles noise_relative_sigma noise_absolute_sigma randomize_func_coeffs "
    "ladder_step ladder_type repulsion weighting trainable_parameters callbacks early_stopping_patience "
    "min_relative_train_loss_per_iter min_relative_test_loss_per_iter"
)
_BACKEND = _values(
    "evaluator batch_size batch_size_reduction batch_size_reduction_factor display_step gpu_config imagetype"
)

_KEYWORDS: Final = {"ALL", "UNARY", "BINARY", "TERNARY", "QUATERNARY", "QUINARY"}
_BLOCK: Final = re.compile("|".join(_KEYWORDS) + "|(" + "|".join(chemical_symbols[1:]) + ")+")
# None: a value; a dict: a section; "*": any block name (ALL, UNARY, an element, a pair, ...).
_TREE: Final[dict[str, Any]] = {
    "seed": None,
    "metadata": _ANY,
    "potential": {
        **_values("deltaSplineBins elements filename reset initial_potential"),
        "overwrite_blocks_from_initial_bbasis": None,
        "embeddings": {"*": _EMBEDDING},
        "bonds": {"*": _BOND},
        "functions": {"number_of_functions_per_element": None, "*": _FUNCTIONS},
    },
    "data": _DATA,
    "fit": {**_FIT, "loss": _LOSS, "options": _ANY},
    "backend": _BACKEND,
}


def check_extra(extra: dict[str, Any]) -> None:
    """Refuse native keys that the engine does not know or that a campaign field decides.

    Raises
    ------
    ValueError
        Naming the path and the nearest known key, or the campaign key to use instead.
    """
    for path in _leaves(extra, _TREE, ()):
        dotted = ".".join(path)
        owner = OWNED_KEYS.get(dotted)
        for_all = OWNED_KEYS.get(".".join(_generic(path)))
        if for_all in _FOR_EACH_BLOCK:
            owner = for_all  # what is decided for all blocks is decided for each
        if owner == "-":
            raise ValueError(f"extra.{dotted} is set by the service and cannot be changed")
        if owner is not None:
            raise ValueError(f"extra.{dotted} contradicts a field; set {owner!r} instead")


def _generic(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path with ALL in the place of a block's name."""
    return (*path[:2], "ALL", *path[3:]) if path[0] == "potential" and len(path) == 4 else path


def _leaves(values: dict[str, Any], tree: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        path = (*above, str(key))
        below = tree.get(str(key), "unknown")
        if below == "unknown" and "*" in tree and _BLOCK.fullmatch(str(key)):
            below = tree["*"]
        if below == "unknown":
            known = (set(tree) - {"*"}) | (_KEYWORDS if "*" in tree else set())
            raise ValueError(f"extra.{'.'.join(path)} is unknown to the engine; {nearest_key(str(key), known)}")
        if not below:
            yield path
        elif isinstance(value, dict):
            yield from _leaves(value, below, path)
        else:
            raise ValueError(f"extra.{'.'.join(path)} must be a mapping, got {value!r}")
