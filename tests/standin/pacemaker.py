"""A stand-in for the engine: same command line and files, a crude fit, and failures on demand.

It lowers a real loss by random steps, so that a continued potential begins where its parent ended.
The environment says how it behaves:

STANDIN_FAILS    one of the names in `main`, each a way in which the real engine was seen to fail
STANDIN_SECONDS  time per iteration
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pyace import ACEBBasisSet, BBasisConfiguration, PyACECalculator
from pyace.multispecies_basisextension import construct_bbasisconfiguration

FAILS = os.environ.get("STANDIN_FAILS", "")
SECONDS = float(os.environ.get("STANDIN_SECONDS", "0"))
HEADER = "ladder_step cycle_step iter_num loss rmse_epa rmse_f_comp nfuncs\n"


def main() -> int:
    native = yaml.safe_load(Path(sys.argv[1]).read_text())
    print("stand-in engine, loading", native["data"]["filename"], flush=True)
    if FAILS == "crash_at_start":
        print("ValueError: this is the reason of the crash", file=sys.stderr)
        return 1
    if FAILS == "no_output":
        return 0
    data = pd.read_pickle(native["data"]["filename"], compression="gzip")
    basis = _start(native["potential"])
    basis.save("target_potential.yaml")
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
    best = _errors(basis, data, kappa)
    metrics = Path("metrics.txt").open("w", buffering=1)  # noqa: SIM115 - stays open when killed
    metrics.write(HEADER)
    Path("test_metrics.txt").write_text(HEADER)
    for iteration in range(native["fit"]["maxiter"] + 1):
        if iteration:
            coefficients = np.array(basis.get_all_coeffs())
            n_functions = basis.total_number_of_functions * basis.funcspecs_blocks[0].ndensityi
            step = np.zeros_like(coefficients)
            step[-n_functions:] = random.normal(0, 0.005, n_functions)
            for sign in (1, -1):  # one of the two goes downhill
                candidate = basis.copy()
                candidate.set_all_coeffs(list(coefficients + sign * step))
                errors = _errors(candidate, data, kappa)
                if errors[0] < best[0]:
                    basis, best = candidate, errors
                    break
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
    return basis


def _errors(basis: BBasisConfiguration, data: pd.DataFrame, kappa: float) -> tuple[float, float, float]:
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
