"""A campaign whose published potentials no engine has trained: they predict DFT with an error added."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mlip_train.atoms.structure import Structure
from mlip_train.base.files import sha256_of
from mlip_train.campaign.campaign import BUNDLE_SUFFIXES, Campaign
from mlip_train.evaluation.predictions import Graded, Prediction
from mlip_train.evaluation.residual_files import keep_residuals
from mlip_train.evaluation.residuals import Residual
from mlip_train.evaluation.summary import summarise
from mlip_train.records.checks import Check, Curve, Panel, Span
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.potential import Lineage, PotentialRecord, Start, TrainingHistory

__all__ = ["REFERENCE", "make_structures", "publish_generation", "rewrite_record"]

REFERENCE = {"C": -9.123456789, "Si": -5.4321}


def make_structures(
    n: int, seed: int, kinds: Sequence[str] = ("bulk", "surface"), n_atoms: int = 6, source: str = "run 1/OUTCAR"
) -> list[Structure]:
    """Structures of silicon carbide; every third is a cluster without a stress."""
    rng = np.random.default_rng(seed)
    return [
        Structure(
            numbers=np.array([14, 6] * (n_atoms // 2), dtype=np.int32),
            positions=rng.uniform(0, 8, (n_atoms, 3)),
            cell=np.eye(3) * rng.uniform(4, 5),
            pbc=np.full(3, number % 3 != 2),
            energy=float(n_atoms * rng.normal(-8, 0.3)),
            forces=rng.normal(0, 1.5, (n_atoms, 3)),
            stress=rng.normal(0, 0.02, 6) if number % 3 != 2 else None,
            config_type=kinds[number % len(kinds)],
            source=source,
            frame=number,
        )
        for number in range(n)
    ]


def publish_generation(
    campaign: Campaign, generation: int, structures: Sequence[Structure], error: float = 1.0, **keys: Any
) -> PotentialRecord:
    """Add structures, of which two in five are test structures, and publish a potential with such errors."""
    splits = {s.structure_id: "test" if number % 5 in (0, 2) else "train" for number, s in enumerate(structures)}
    campaign.store.append(structures, splits, generation, REFERENCE, 5.0)  # type: ignore[arg-type]
    record = _record(campaign, generation, _evaluate(campaign, generation, error)).model_copy(update=keys)
    for suffix in BUNDLE_SUFFIXES:
        campaign.bundle_record(generation).with_suffix(suffix).write_text(f"{suffix} of {generation}")
    names = [campaign.bundle_record(generation).with_suffix(suffix) for suffix in BUNDLE_SUFFIXES]
    record = record.model_copy(update={"files": {name.name: sha256_of(name) for name in names}})
    campaign.bundle_record(generation).write_text(record.model_dump_json())
    pointer = {"generation": generation, "potential": campaign.bundle_record(generation).name}
    if record.accepted:
        campaign.current_pointer.write_text(json.dumps(pointer))
    return record


def rewrite_record(campaign: Campaign, generation: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the record of a generation says."""
    path = campaign.bundle_record(generation)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _evaluate(campaign: Campaign, generation: int, error: float) -> Evaluation:
    run, store = campaign.generation(generation), campaign.store
    train = [one.structure for one in store.iterate("train")]
    test = [one.structure for one in store.iterate("test")]
    new = [one.structure for one in store.iterate(after=generation - 1)]
    on_train = summarise(keep_residuals(run.residuals_on_train, [_wrong(s, error, 1) for s in train]))
    on_test = summarise(keep_residuals(run.residuals_on_test, [_wrong(s, 1.2 * error, 2) for s in test]))
    is_first = generation == 1
    assert on_train.errors is not None
    return Evaluation(
        train=on_train.errors,
        test=on_test.errors,
        parent=None if is_first else generation - 1,
        before=None if is_first else summarise([_wrong(s, 1.5, 3) for s in test]).errors,
        new=None if is_first else summarise([_wrong(s, 2.5, 4) for s in new]).errors,
        grades=on_test.grades,
        worst=on_test.worst,
    )


def _wrong(structure: Structure, error: float, seed: int) -> Residual:
    rng = np.random.default_rng([seed, structure.frame])
    reference = sum(REFERENCE[symbol] for symbol in structure.symbols)
    stress = None if structure.stress is None else structure.stress + rng.normal(0, 1e-3 * error, 6)
    n_atoms = len(structure.numbers)
    prediction = Prediction(
        energy=structure.energy - reference + n_atoms * rng.normal(0, 0.01 * error),
        baseline_energy=0.0,
        forces=structure.forces + rng.normal(0, 0.1 * error, (n_atoms, 3)),
        stress=stress,
        graded=Graded(gamma=float(rng.lognormal(-0.3, 0.4)), energy_difference=0.0, force_difference=0.0),
    )
    return Residual(structure, prediction, reference)


def _record(campaign: Campaign, generation: int, errors: Evaluation) -> PotentialRecord:
    n_train, n_test = campaign.store.count("train"), campaign.store.count("test")
    share = {"chosen": n_train, "available": n_train}
    selection = {
        "method": "maxvol",
        "structures": share,
        "by_element": {"Si": share},
        "by_config_type": {"bulk": share},
        "identity": "5" * 64,
        "gamma_after": {"Si": 1.00987},
        "seconds": 0.2345,
    }
    campaign.generation(generation).selection.write_text(json.dumps({"selection": selection, "structures": []}))
    is_first = generation == 1
    return PotentialRecord(
        generation=generation,
        created=datetime(2026, 11, 3, 14, 25, 36, tzinfo=UTC),
        elements=("C", "Si"),
        cutoff=5.0,
        reference_energies=REFERENCE,
        files={},
        lineage=Lineage(
            start=Start(kind="linear", reason="there is no earlier potential")
            if is_first
            else Start(kind="previous", reason="it has the same basis", generation=generation - 1),
            parent_sha256=None if is_first else "ab12" * 16,
            dataset_hash="cd34" * 16,
            config_hash="ef56" * 16,
            basis_hash="0789" * 16,
            n_train=n_train,
            n_test=n_test,
            engine={"pacemaker_version": "0.4.0rc1"},
        ),
        convergence="out of epochs",
        history=TrainingHistory(
            iteration=(0, 1, 2),
            loss=(3.0, 2.0, 0.1),
            energy_rmse=(30.0, 20.0, 10.0),
            force_rmse=(300.0, 200.0, 100.0),
            test_iteration=(0, 2),
            test_loss=(3.3, 0.2),
            seconds=(11.0, 12.0, 13.0),
        ),
        errors=errors,
        seconds={"engine": 83.4567, "start_up": 20.123, "evaluator": 40.5, "optimiser": 22.8},
        checks=_checks(),
    )


def _checks() -> tuple[Check, ...]:
    panel = Panel(
        title="Si-Si",
        x_label="distance (Å)",
        y_label="energy (eV)",
        curves=(Curve(label="alone", x=(1.0, 2.0, 3.0), y=(250.0, -1.5, 0.0)),),
        spans=(Span(label="switch", begin=1.0, end=1.5), Span(label="end of the data", begin=2.0, end=2.0)),
        scale="energy",
    )
    return (
        Check(
            name="dimer", passed=True, finding="It holds 2 atoms apart.", notes=("Below 1.9 Å.",), panels=(panel,)
        ),
        Check(name="nve", passed=False, finding="It drifts by 3.21 meV/atom/ps; add data from MD."),
        Check(name="symmetry", passed=None, finding="there was nothing to rotate"),
    )
