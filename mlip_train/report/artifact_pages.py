"""What a run leaves to look at beside its report: tables and Markdown pages."""

import base64
from collections.abc import Sequence
from pathlib import Path

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan
from mlip_train.fit.selection import read_selection
from mlip_train.potential.potential import Potential
from mlip_train.records.checks import Check
from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.fit import Timings
from mlip_train.records.potential import PotentialRecord
from mlip_train.records.selection import Selection

__all__ = ["checks_page", "dataset_rows", "error_rows", "loss_page", "potential_page", "selection_rows"]

Row = dict[str, str | int]


def dataset_rows(campaign: Campaign) -> list[Row]:
    """What each generation brought."""
    return [
        {
            "generation": shard.generation,
            "new for training": shard.structures.get("train", 0),
            "new for testing": shard.structures.get("test", 0),
            "atoms": ", ".join(f"{n} {element}" for element, n in shard.atoms_by_element.items()),
            "config types": ", ".join(sorted({kind for types in shard.config_types.values() for kind in types})),
        }
        for shard in campaign.store.manifest.shards
    ]


def selection_rows(selection: Selection) -> list[Row]:
    """What a fit learns from."""
    shares = {
        "all": selection.structures,
        **{f"with {element}": share for element, share in selection.by_element.items()},
        **{f"config type {name}": share for name, share in selection.by_config_type.items()},
    }
    return [{"training structures": of, "learned from": str(share)} for of, share in shares.items()]


def error_rows(evaluation: Evaluation) -> list[Row]:
    """Errors overall and per config type, on the test set beside those of the parent."""
    parents = _by_type(evaluation.before)
    return [
        _error_row(split, name, errors, parents.get(name) if split == "test" else None, bool(parents))
        for split, of_split in (("test", evaluation.test), ("training", evaluation.train))
        for name, errors in _by_type(of_split).items()
    ]


def loss_page(plan: FitPlan) -> str:
    """The picture of the loss over the iterations."""
    return _picture(plan.run.loss_curve)


def checks_page(plan: FitPlan, checks: Sequence[Check]) -> str:
    """What the checks of a potential found, with their pictures."""
    parts = []
    for check in checks:
        parts += [f"## {check.name}: {check.word}", check.finding, *(f"- {note}" for note in check.notes)]
        if check.panels:
            parts.append(_picture(plan.run.check_picture(check.name)))
    return "\n\n".join(parts)


def potential_page(plan: FitPlan, potential: Potential) -> str:
    """All of a generation on one page: where its potential is, how good it is, and how to use it."""
    record = potential.record
    energies = ", ".join(f"{energy:.6g} eV per {e}" for e, energy in record.reference_energies.items())
    return f"""\
# {plan.campaign.name}: generation {potential.generation}

**{potential.yace}**

The gate: {"; ".join([str(record.verdict), *record.verdict.notes])}.

{potential.use}.

{_errors_in_short(record.errors)}

Learned from {read_selection(plan.run)}. The fit {record.lineage.start}. It stopped: {record.convergence}.
Reference potential: {record.lineage.reference}. {_time_of(record)}.{_committee_of(record)}

{_picture(plan.run.loss_curve)}

Its energies are relative to {energies}: add these per atom to compare with DFT totals.

ASE:
```python
from mlip_train import Potential
atoms.calc = Potential.load({str(potential.path)!r}).calculator()
```
LAMMPS, with atom types in the order {" ".join(record.elements)} (with `variable grades index yes` before it, it
grades extrapolation, too):
```
variable potentials index "{potential.path.parent}"
include "{potential.lmp}"
```
"""


def _committee_of(record: PotentialRecord) -> str:
    return f" Committee, see `Potential.committee_calculator()`: {record.committee}." if record.committee else ""


def _time_of(record: PotentialRecord) -> str:
    """Seconds of the engine, and where they went."""
    parts = {part: seconds for part, seconds in record.seconds.items() if part != "engine"}
    spent = f" ({Timings(**parts)})" if parts else ""
    where = f" on {record.devices}" if record.devices else ""
    return f"Time of the engine: {record.seconds['engine']:.0f} s{spent}{where}"


def _picture(path: Path) -> str:
    """An embedded PNG: Prefect serves no local files."""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def _by_type(errors: SplitErrors | None) -> dict[str, Errors]:
    """Errors of all structures, then of each config type."""
    return {} if errors is None else {"all": errors.overall, **errors.by_config_type}


def _error_row(split: str, config_type: str, errors: Errors, parent: Errors | None, against_parent: bool) -> Row:
    """A line of the table; the parent's errors stand in brackets, because a page has no room for more columns."""
    row: Row = {"set": split, "config type": config_type, "structures": errors.n_structures}
    for short, name, digits in (("E", "energy_rmse", 2), ("F", "force_rmse", 1)):
        before = _number(getattr(parent, name, None), digits)
        cell = _number(getattr(errors, name), digits) + (f" ({before})" if before else "")
        row[f"{short} RMSE (parent)" if against_parent else f"{short} RMSE"] = cell
    return row | {
        "stress RMSE": _number(errors.stress_rmse, 3),
        "E MAE": _number(errors.energy_mae, 2),
        "F MAE": _number(errors.force_mae, 1),
    }


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _errors_in_short(evaluation: Evaluation) -> str:
    """A markdown table of the errors over all structures."""
    rows = [
        "| RMSE against DFT | structures | energy (meV/atom) | force (meV/Å) | stress (GPa) |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, split in (
        ("test set", evaluation.test),
        ("test set, the parent", evaluation.before),
        ("training set", evaluation.train),
    ):
        if split is not None:
            e = split.overall
            energy, force, stress = _number(e.energy_rmse, 1), _number(e.force_rmse, 0), _number(e.stress_rmse, 2)
            rows.append(f"| {name} | {e.n_structures} | {energy} | {force} | {stress} |")
    return "\n".join(rows)
