"""A stand-in for the engine: same command line and files, a crude fit, and failures on demand.

It lowers a real loss by random steps, so that a continued potential begins where its parent ended.
As the real one, it calls what `fit.callbacks` names after every iteration, ends when one of them
raises StopIteration, and says at the end why it stopped. The environment says how it behaves:

STANDIN_FAILS    one of the names in `main`, each a way in which the real engine was seen to fail
STANDIN_SECONDS  time per iteration
STANDIN_UNTIL    a file for which it waits after the first iteration
STANDIN_DEVICES  what its TensorFlow would compute on, for example /device:GPU:0
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import yaml
from pyace import ACEBBasisSet, BBasisConfiguration, PyACECalculator
from pyace.multispecies_basisextension import construct_bbasisconfiguration

Errors = tuple[float, float, float]  # loss, energy RMSE (eV/atom), force RMSE (eV/Å)

FAILS = os.environ.get("STANDIN_FAILS", "")
SECONDS = float(os.environ.get("STANDIN_SECONDS", "0"))
UNTIL = Path(os.environ.get("STANDIN_UNTIL", "/"))
HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"


def main() -> int:
    native = yaml.safe_load(Path(sys.argv[1]).read_text())
    print("stand-in engine, loading", native["data"]["filename"], flush=True)
    if devices := os.environ.get("STANDIN_DEVICES"):
        listed = [SimpleNamespace(name=name) for name in devices.split()]
        config = SimpleNamespace(list_logical_devices=lambda: listed)
        sys.modules["tensorflow"] = SimpleNamespace(config=config)  # type: ignore[assignment]
    if FAILS == "crash_at_start":
        print("ValueError: this is the reason of the crash", file=sys.stderr)
        return 1
    if FAILS == "no_output":
        return 0
    data = pd.read_pickle(native["data"]["filename"], compression="gzip")
    basis = _start(native["potential"])
    basis.save("target_potential.yaml")
    if FAILS == "restarts_from_zeros":  # as the real one does when it is told of a ladder
        _set_functions(basis, np.zeros_like(_functions(basis)))
    if FAILS == "exit_1_with_potential":
        basis.save("output_potential.yaml")
        print("ValueError: No new function added after basis extension", file=sys.stderr)
        return 1
    basis = _fit(basis, data, native)
    if FAILS == "untrained":
        shutil.copy("target_potential.yaml", "output_potential.yaml")
    elif FAILS == "broken_output":
        Path("output_potential.yaml").write_text("metadata:\n  _loss: 1\nspecies: [")
    else:
        basis.save("output_potential.yaml")
    _predict(basis, data)
    return 1 if FAILS == "exit_1_after_fit" else 0


def _start(potential: str | dict[str, object]) -> BBasisConfiguration:
    if isinstance(potential, str):
        return BBasisConfiguration(potential)
    return construct_bbasisconfiguration(potential)


def _fit(basis: BBasisConfiguration, data: pd.DataFrame, native: dict) -> BBasisConfiguration:
    random = np.random.default_rng(native["seed"])
    kappa = native["fit"]["loss"]["kappa"]
    callbacks = [_imported(name) for name in native["fit"].get("callbacks", [])]
    print("Cycle fitting loop", flush=True)
    best = _errors(basis, data, kappa)
    metrics = Path("metrics.txt").open("w", buffering=1)  # noqa: SIM115 - stays open when killed
    metrics.write(HEADER)
    Path("test_metrics.txt").write_text(HEADER)
    status = 1
    for iteration in range(native["fit"]["maxiter"] + 1):
        if iteration:
            basis, best = _downhill(basis, best, data, kappa, random)
        loss, energy, force = best if FAILS != "nan_loss" else (float("nan"),) * 3
        metrics.write(f"0 0 {iteration} {loss!r} {energy!r} {force!r} {basis.total_number_of_functions}\n")
        basis.save("interim_potential_0.yaml")
        if FAILS == "truncated_interim" and iteration == 3:
            time.sleep(2)  # long enough to be looked at while it is whole ...
            whole = Path("interim_potential_0.yaml").read_text()
            Path("interim_potential_0.yaml").write_text(whole[: len(whole) // 2])
            metrics.write(f"0 0 {iteration + 1} {loss!r} {energy!r} {force!r} 8\n")
            time.sleep(2)  # ... and while it is torn
            os.kill(os.getpid(), signal.SIGTERM)
        if FAILS == "killed" and iteration == 2:
            time.sleep(0.7)  # long enough to be looked at
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SECONDS)
        while iteration and not UNTIL.exists():
            time.sleep(0.1)
        try:
            for callback in callbacks if iteration else []:
                callback(
                    basis_config=basis,
                    current_fit_iteration=iteration - 1,
                    current_fit_cycle=0,
                    current_ladder_step=0,
                )
        except StopIteration:
            status = 99
            break
    message = {1: "Maximum number of iterations has been exceeded.", 99: "`callback` raised `StopIteration`."}
    told = f"success=False, status={status}, message={message[status]}, nfev={iteration + 1}, njev={iteration + 1}"
    print(f"Optimization result({told})", flush=True)
    return basis


def _imported(name: str) -> Callable[..., None]:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def _downhill(
    basis: BBasisConfiguration, best: Errors, data: pd.DataFrame, kappa: float, random: np.random.Generator
) -> tuple[BBasisConfiguration, Errors]:
    """A step in a random direction, there or back, and shorter until it lowers the loss."""
    step = random.normal(0, 0.005, len(_functions(basis)))
    for size in (1, -1, 0.1, -0.1, 0.01, -0.01):
        candidate = basis.copy()
        _set_functions(candidate, _functions(basis) + size * step)
        errors = _errors(candidate, data, kappa)
        if errors[0] < best[0]:
            return candidate, errors
    return basis, best


def _functions(basis: BBasisConfiguration) -> np.ndarray:
    """The coefficients of all functions, block after block; not those of the radial functions."""
    functions = [function for block in basis.funcspecs_blocks for function in block.funcspecs]
    return np.concatenate([function.coeffs for function in functions])


def _set_functions(basis: BBasisConfiguration, coefficients: np.ndarray) -> None:
    remaining = iter(coefficients.tolist())
    blocks = basis.funcspecs_blocks
    for block in blocks:
        functions = block.funcspecs
        for function in functions:
            function.coeffs = [next(remaining) for _ in function.coeffs]
        block.funcspecs = functions
    basis.funcspecs_blocks = blocks


def _errors(basis: BBasisConfiguration, data: pd.DataFrame, kappa: float) -> Errors:
    calculator = PyACECalculator(ACEBBasisSet(basis))
    energy, forces = [], []
    for atoms, e, f in zip(data["ase_atoms"], data["energy_corrected"], data["forces"], strict=True):
        calculator.calculate(atoms)
        energy.append((calculator.results["energy"] - e) / len(atoms))
        forces.append(calculator.results["forces"] - f)
    energy_mse, force_mse = np.mean(np.square(energy)), np.mean(np.square(np.concatenate(forces)))
    # the engine weights atoms, not components, and sums over the three components
    loss = (1 - kappa) * energy_mse + kappa * 3 * force_mse
    return float(loss), float(np.sqrt(energy_mse)), float(np.sqrt(force_mse))


def _predict(basis: BBasisConfiguration, data: pd.DataFrame) -> None:
    calculator = PyACECalculator(ACEBBasisSet(basis))
    energies = []
    for atoms in data["ase_atoms"]:
        calculator.calculate(atoms)
        energies.append(calculator.results["energy"])
    offset = 1.0 if FAILS == "inconsistent" else 0.0
    predictions = data.drop(columns="ase_atoms").assign(energy_pred=np.array(energies) + offset)
    if FAILS == "drops_structure":
        predictions = predictions.iloc[1:]
    predictions.to_pickle("train_pred.pckl.gzip", compression="gzip", protocol=4)


if __name__ == "__main__":
    sys.exit(main())
