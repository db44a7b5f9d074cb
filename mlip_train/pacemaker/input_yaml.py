"""Rendering the engine's `input.yaml` from a campaign's configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from mlip_train.ace.curvature import first_inverse_hessian
from mlip_train.base.files import write_atomically
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.fit import EnergyBasedWeighting
from mlip_train.pacemaker.callbacks import STOP_CALLBACK, TELL_CALLBACK

__all__ = ["TEST_EVERY", "basis_section", "energy_based_policy", "render_input", "with_curvature", "write_input"]

TEST_EVERY: Final = 5  # iterations between two evaluations of the test set

# fs_parameters are (factor, exponent) per density.
_EMBEDDINGS: Final[dict[str, list[float]]] = {"linear": [1, 1], "finnis_sinclair": [1, 1, 1, 0.5]}


def basis_section(config: CampaignConfig) -> dict[str, Any]:
    """The `potential` section that describes the basis, with what `extra` adds to it."""
    basis = config.basis
    parameters = _EMBEDDINGS[basis.embedding]
    section: dict[str, Any] = {
        "deltaSplineBins": 0.001,
        "elements": list(config.elements),
        "embeddings": {
            "ALL": {
                "npot": "FinnisSinclairShiftedScaled",
                "fs_parameters": parameters,
                "ndensity": len(parameters) // 2,
            }
        },
        "bonds": {
            "ALL": {
                "radbase": basis.radial_basis,
                "radparameters": list(basis.radial_parameters),
                "rcut": basis.cutoff,
                # The trainer ignores dcut and the exported file does not: 0.01 keeps them within
                # 5e-6 eV/atom, 0.5 would be 22 meV/atom apart.
                "dcut": 0.01,
                "NameOfCutoffFunction": "cos",
            }
        },
        "functions": {
            "number_of_functions_per_element": basis.functions_per_element,
            "ALL": {
                "nradmax_by_orders": list(basis.nradmax_by_orders),
                "lmax_by_orders": list(basis.lmax_by_orders),
            },
        },
    }
    return _merge(section, config.extra.get("potential", {}))


def render_input(
    config: CampaignConfig,
    reference_energies: Mapping[str, float],
    train_data: Path,
    test_data: Path | None,
    start: Path | None,
    max_epochs: int,
    *,
    climb_from_start: bool = False,
) -> dict[str, Any]:
    """The content of input.yaml.

    Parameters
    ----------
    config : CampaignConfig
        What the user decided.
    reference_energies : mapping of element to float
        Pinned energies in eV; always explicit, because the engine's `auto` drifts with the data.
    train_data, test_data : Path
        Structures in the engine's format; no test data when the test set is empty.
    start : Path or None
        A B-basis to continue from; None starts from zeros with the configured basis.
    max_epochs : int
        Iterations to do (fewer than configured when a fit is resumed).
    climb_from_start : bool
        Whether `start` is a smaller basis from which the ladder goes on to the configured one.
    """
    data: dict[str, Any] = {"filename": str(train_data)}
    if test_data is not None:
        data["test_filename"] = str(test_data)
    data["reference_energy"] = dict(reference_energies)
    potential: dict[str, Any] | str = basis_section(config)
    if start is not None:
        potential = {**basis_section(config), "initial_potential": str(start)} if climb_from_start else str(start)
    backend: dict[str, Any] = {
        # the default, pyace, differentiates numerically
        "evaluator": "tensorpot",
        "batch_size": config.fit.batch_size,
        "display_step": TEST_EVERY,
    }
    if config.engine.gpu is not None:
        # the chosen one is the only one that CUDA_VISIBLE_DEVICES lets TensorFlow see
        backend["gpu_config"] = {"gpu_ind": 0, "mem_limit": config.engine.gpu.memory or 0}
    native = {
        "seed": config.fit.seed,
        "potential": potential,
        "data": data,
        "fit": _fit_section(config, max_epochs, climbs=start is None or climb_from_start),
        "backend": backend,
    }
    return _merge(native, {key: value for key, value in config.extra.items() if key != "potential"})


def _fit_section(config: CampaignConfig, max_epochs: int, *, climbs: bool) -> dict[str, Any]:
    fit, basis = config.fit, config.basis
    section: dict[str, Any] = {
        # kappa's default of 0 would train on energies alone
        "loss": {"kappa": config.loss_weights.kappa, "L2_coeffs": fit.l2_regularization},
        "optimizer": fit.optimizer,
        "maxiter": max_epochs,
    }
    if basis.ladder_step is not None and climbs:
        # a ladder on a continued potential would throw its coefficients away
        section |= {"ladder_step": basis.ladder_step, "ladder_type": basis.ladder_type}
    if fit.early_stopping is not None:
        section["min_relative_train_loss_per_iter"] = fit.early_stopping.min_relative_change
        section["early_stopping_patience"] = fit.early_stopping.patience
    section["callbacks"] = [TELL_CALLBACK, *([STOP_CALLBACK] if fit.max_hours is not None else [])]
    if isinstance(fit.weighting, EnergyBasedWeighting):
        section["weighting"] = energy_based_policy(fit.weighting, fit.seed)
    return section


def energy_based_policy(weighting: EnergyBasedWeighting, seed: int) -> dict[str, Any]:
    """The engine's arguments for weights that fall with the energy."""
    return {
        "type": "EnergyBasedWeightingPolicy",
        "energy": weighting.energy_zero,
        "DElow": weighting.low_window,
        "DEup": weighting.upper_limit,
        "DE": weighting.energy_offset,
        "DF": weighting.force_offset,
        "wlow": weighting.low_share,
        "reftype": "all",
        "seed": seed,
    }


def with_curvature(native: Mapping[str, Any], bbasis: Path, gram: Path) -> dict[str, Any] | None:
    """Return the content of input.yaml with the first inverse Hessian; None where it can use none.

    It can with BFGS on all coefficients, as long as they are not too many; see `first_inverse_hessian`.
    """
    fit = native["fit"]
    if fit["optimizer"] != "BFGS" or "trainable_parameters" in fit:  # then the engine optimises a part of them
        return None
    inverse = first_inverse_hessian(bbasis, gram)
    if inverse is None:
        return None
    # given options replace the engine's own, whose gtol is this
    options = {**fit.get("options", {"gtol": 1e-8}), "hess_inv0": inverse}
    return {**native, "fit": {**fit, "options": options}}


def write_input(path: Path, native: Mapping[str, Any]) -> None:
    """Write an input.yaml that YAML 1.1 and 1.2 readers understand alike.

    PyYAML writes floats with a point (1.0e-08), without which YAML 1.1 would read a string.
    """
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(dict(native), Dumper=dumper, sort_keys=False, default_flow_style=None, width=100)
    write_atomically(path, text)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
