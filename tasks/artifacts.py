"""What a run leaves to look at in Prefect. Keys are stable per campaign, so a key's page is its history."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from mlip_train.campaign import Campaign
from mlip_train.deployment import Deployment
from mlip_train.evaluation import Errors, Evaluation
from mlip_train.planning import FitPlan
from mlip_train.potential import Potential
from mlip_train.selection import Selection

__all__ = [
    "ProgressReport",
    "artifact_key",
    "never_in_the_way",
    "report_dataset",
    "report_dimers",
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
    """The progress artifact of a training."""

    def __init__(self, plan: FitPlan) -> None:
        self._plan = plan
        self._artifact: UUID | None = None

    def update(self, percent: float, description: str) -> None:
        """Create the artifact, or move it on."""
        with never_in_the_way():
            if self._artifact is None:
                key = artifact_key(self._plan.campaign, "training")
                self._artifact = create_progress_artifact(percent, key=key, description=description)
            else:
                update_progress_artifact(self._artifact, progress=percent, description=description)


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
    """Table of errors, overall and per config type."""
    rows = []
    for split, errors in (
        ("test", evaluation.test),
        ("test, before", evaluation.before),
        ("training", evaluation.train),
    ):
        if errors is None:
            continue
        rows.append(_error_row(split, "all", errors.overall))
        rows += [_error_row(split, name, of_type) for name, of_type in errors.by_config_type.items()]
    with never_in_the_way():
        create_table_artifact(
            rows,
            key=artifact_key(plan.campaign, "errors"),
            description=f"Errors of generation {plan.generation} against DFT, computed with the .yace file: E in "
            "meV/atom, F in meV/Å, stress RMSE in GPa. Before: the potential before, on the same structures",
        )


def report_loss_curve(plan: FitPlan) -> None:
    """The picture of the loss over the iterations."""
    with never_in_the_way():
        create_markdown_artifact(
            _picture(plan.run.loss_curve),
            key=artifact_key(plan.campaign, "loss-curve"),
            description=f"Loss of generation {plan.generation} over the iterations",
        )


def report_dimers(plan: FitPlan, deployment: Deployment) -> None:
    """The picture of the dimer curves, and what they tell."""
    told = [f"Reference potential: {deployment.reference}.", *deployment.notes, *deployment.holes]
    with never_in_the_way():
        create_markdown_artifact(
            "\n\n".join([*told, _picture(plan.run.dimer_curves)]),
            key=artifact_key(plan.campaign, "dimers"),
            description=f"Two atoms that approach each other, generation {plan.generation}",
        )


def report_potential(campaign: Campaign, potential: Potential) -> None:
    """Where the potential is and how to use it."""
    elements = " ".join(potential.record.elements)
    references = potential.record.reference_energies
    energies = ", ".join(f"{energy:.6g} eV per {element}" for element, energy in references.items())
    text = f"""\
# {campaign.name}: generation {potential.generation}

**{potential.yace}**

{potential.use}. Reference potential: {potential.record.lineage.reference}.

{potential.errors}

The fit {potential.record.lineage.start}. Trained on {potential.record.lineage.n_train} structures.

Its energies are relative to {energies}: add these per atom to compare with DFT totals.

ASE:
```python
from mlip_train import Potential
atoms.calc = Potential.load({str(potential.path)!r}).calculator()
```
LAMMPS, with atom types in the order {elements} (`variable grades index yes` before it grades extrapolation, too):
```
variable potentials index "{potential.path.parent}"
include "{potential.lmp}"
```
"""
    with never_in_the_way():
        create_markdown_artifact(
            text,
            key=artifact_key(campaign.root, "potential"),
            description=f"Potential of generation {potential.generation}",
        )


def report_selection(campaign: Path, selection: Selection) -> None:
    """Table of what a fit learns from."""
    rows = [{"what": "all structures", "learned from": str(selection.structures)}]
    rows += [{"what": f"with {e}", "learned from": str(share)} for e, share in selection.by_element.items()]
    rows += [{"what": name, "learned from": str(share)} for name, share in selection.by_config_type.items()]
    with never_in_the_way():
        create_table_artifact(
            rows, key=artifact_key(campaign, "selection"), description=f"{selection}; {selection.seconds:.1f} s"
        )


def _picture(path: Path) -> str:
    """An embedded PNG: Prefect serves no local files."""
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def _error_row(split: str, config_type: str, errors: Errors) -> dict[str, str | int]:
    stress = "" if errors.stress_rmse is None else f"{errors.stress_rmse:.3f}"
    return {
        "set": split,
        "config type": config_type,
        "structures": errors.n_structures,
        "E RMSE": f"{errors.energy_rmse:.2f}",
        "E MAE": f"{errors.energy_mae:.2f}",
        "F RMSE": f"{errors.force_rmse:.1f}",
        "F MAE": f"{errors.force_mae:.1f}",
        "stress": stress,
    }
