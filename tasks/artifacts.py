"""What a run leaves to look at in Prefect. Keys are stable per campaign, so a key's page is its history."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from mlip_train.campaign import Campaign
from mlip_train.check import Check
from mlip_train.evaluation import Errors, Evaluation, SplitErrors
from mlip_train.pacemaker.timings import Timings
from mlip_train.planning import FitPlan
from mlip_train.potential import Potential, PotentialRecord
from mlip_train.selection import Selection, read_selection

__all__ = [
    "ProgressReport",
    "artifact_key",
    "never_in_the_way",
    "report_checks",
    "report_dataset",
    "report_errors",
    "report_loss_curve",
    "report_potential",
    "report_selection",
]


def artifact_key(campaign: Path, what: str) -> str:
    """A key of lower-case letters, digits and dashes, which is all that Prefect takes.

    Two campaigns may have the same name, so a few digits of the path's hash stand in it too.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", campaign.name.lower()).strip("-")
    place = hashlib.sha256(str(campaign).encode()).hexdigest()[:4]
    return f"{slug or 'campaign'}-{place}-{what}"


@contextmanager
def never_in_the_way() -> Iterator[None]:
    """Let a run go on when Prefect cannot be reached: what it trains matters more than the report."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("Prefect did not take a report (%s); the run goes on", type(error).__name__)


class ProgressReport:
    """The progress artifact of a training, on the page of the generation that it is a part of."""

    def __init__(self, plan: FitPlan) -> None:
        self._plan = plan
        self._artifact: UUID | None = None
        self._last = "no iteration was reported"

    def update(self, percent: float, description: str) -> None:
        """Create the artifact, or move it on."""
        self._last = description
        with never_in_the_way(), get_client(sync_client=True) as client:
            if self._artifact is None:
                self._artifact = client.create_artifact(self._new(percent, description)).id
            else:
                told = ArtifactUpdate(data=percent, description=description)
                client.update_artifact(self._artifact, told)

    def end(self) -> None:
        """Tell that there is nothing to wait for any more."""
        self.update(100.0, f"the engine has ended; last report: {self._last}")

    def _new(self, percent: float, description: str) -> ArtifactCreate:
        return ArtifactCreate(
            type="progress",
            key=artifact_key(self._plan.campaign, "training"),
            data=percent,
            description=description,
            flow_run_id=flow_run.parent_flow_run_id or flow_run.id,
        )


def report_dataset(campaign: Campaign) -> None:
    """Table of what each generation brought."""
    rows = []
    for shard in campaign.store.manifest.shards:
        types = sorted({*shard.config_types.get("train", {}), *shard.config_types.get("test", {})})
        rows.append(
            {
                "generation": shard.generation,
                "new for training": shard.structures.get("train", 0),
                "new for testing": shard.structures.get("test", 0),
                "atoms": ", ".join(f"{n} {element}" for element, n in shard.atoms_by_element.items()),
                "config types": ", ".join(types),
            }
        )
    if rows:
        key = artifact_key(campaign.root, "dataset")
        with never_in_the_way():
            create_table_artifact(rows, key=key, description="Structures in the dataset, per generation")


def report_errors(plan: FitPlan, evaluation: Evaluation) -> None:
    """Table of errors, overall and per config type, against the parent on the test set."""
    parents = _by_type(evaluation.before)
    rows = [
        _error_row(split, name, errors, parents.get(name) if split == "test" else None, bool(parents))
        for split, of_split in (("test", evaluation.test), ("training", evaluation.train))
        for name, errors in _by_type(of_split).items()
    ]
    overall = (evaluation.test or evaluation.train).overall
    parent_told = " and, for the test structures, against the parent" if parents else ""
    with never_in_the_way():
        create_table_artifact(
            rows,
            key=artifact_key(plan.campaign, "errors"),
            description=f"Generation {plan.generation}: {overall}. Computed with the .yace file against DFT"
            f"{parent_told}: E in meV/atom, F in meV/Å, stress in GPa",
        )


def report_loss_curve(plan: FitPlan) -> None:
    """The picture of the loss over the iterations."""
    with never_in_the_way():
        create_markdown_artifact(
            _picture(plan.run.loss_curve),
            key=artifact_key(plan.campaign, "loss-curve"),
            description=f"Generation {plan.generation}: loss and force error over the iterations",
        )


def report_checks(plan: FitPlan, checks: Sequence[Check]) -> None:
    """What the checks of a potential found, with their pictures."""
    parts = []
    for check in checks:
        parts += [f"## {check.name}: {check.word}", check.told, *(f"- {note}" for note in check.notes)]
        if check.panels:
            parts.append(_picture(plan.run.check_picture(check.name)))
    with never_in_the_way():
        create_markdown_artifact(
            "\n\n".join(parts),
            key=artifact_key(plan.campaign, "checks"),
            description=f"Generation {plan.generation}: files, dimers, energy against volume, symmetry, MD",
        )


def report_potential(plan: FitPlan, potential: Potential) -> None:
    """All of a generation on one page: where its potential is, how good it is, and how to use it."""
    with never_in_the_way():
        create_markdown_artifact(
            _page_of(plan, potential),
            key=artifact_key(plan.campaign, "potential"),
            description=f"Generation {potential.generation}: {potential.yace}",
        )


def _page_of(plan: FitPlan, potential: Potential) -> str:
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


def report_selection(campaign: Path, generation: int, selection: Selection) -> None:
    """Table of what a fit learns from."""
    shares = {
        "all": selection.structures,
        **{f"with {element}": share for element, share in selection.by_element.items()},
        **{f"config type {name}": share for name, share in selection.by_config_type.items()},
    }
    rows = [{"training structures": of, "learned from": str(share)} for of, share in shares.items()]
    with never_in_the_way():
        create_table_artifact(
            rows,
            key=artifact_key(campaign, "selection"),
            description=f"Generation {generation} learns from {selection}",
        )


def _picture(path: Path) -> str:
    """An embedded PNG: Prefect serves no local files."""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def _by_type(errors: SplitErrors | None) -> dict[str, Errors]:
    """Errors of all structures, then of each config type."""
    return {} if errors is None else {"all": errors.overall, **errors.by_config_type}


def _error_row(
    split: str, config_type: str, errors: Errors, parent: Errors | None, against_parent: bool
) -> dict[str, str | int]:
    """A line of the table; the parent's errors stand in brackets, because a page has no room for more columns."""
    row: dict[str, str | int] = {"set": split, "config type": config_type, "structures": errors.n_structures}
    for short, name, digits in (("E", "energy_rmse", 2), ("F", "force_rmse", 1)):
        before = _number(getattr(parent, name, None), digits)
        told = _number(getattr(errors, name), digits) + (f" ({before})" if before else "")
        row[f"{short} RMSE (parent)" if against_parent else f"{short} RMSE"] = told
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
