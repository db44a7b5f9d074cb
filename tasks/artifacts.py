"""What a run leaves to look at in Prefect. Keys are stable per campaign, so a key's page is its history."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from mlip_train.campaign import Campaign
from mlip_train.evaluation import Errors, Evaluation
from mlip_train.generation import FitPlan
from mlip_train.potential import Potential

__all__ = ["artifact_key", "report_dataset", "report_errors", "report_loss_curve", "report_potential"]


def artifact_key(campaign: Path, what: str) -> str:
    """A key of lower-case letters, digits and dashes, which is all that Prefect takes."""
    slug = re.sub(r"[^a-z0-9]+", "-", campaign.name.lower()).strip("-")
    return f"{slug or 'campaign'}-{what}"


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
        create_table_artifact(rows, key=key, description="Structures in the dataset, per generation")


def report_errors(plan: FitPlan, evaluation: Evaluation) -> None:
    """Table of errors, overall and per config type."""
    rows = []
    for split, errors in (("test", evaluation.test), ("training", evaluation.train)):
        if errors is None:
            continue
        rows.append(_error_row(split, "all", errors.overall))
        rows += [_error_row(split, name, of_type) for name, of_type in errors.by_config_type.items()]
    create_table_artifact(
        rows,
        key=artifact_key(plan.campaign, "errors"),
        description=f"Errors of generation {plan.generation} against DFT, from the exported file",
    )


def report_loss_curve(plan: FitPlan) -> None:
    """The picture of the loss, embedded: Prefect serves no local files."""
    picture = base64.b64encode(plan.run.loss_curve.read_bytes()).decode()
    create_markdown_artifact(
        f"![loss of generation {plan.generation}](data:image/png;base64,{picture})",
        key=artifact_key(plan.campaign, "loss-curve"),
        description=f"Loss of generation {plan.generation} over the iterations",
    )


def report_potential(campaign: Campaign, potential: Potential) -> None:
    """Where the potential is and how to use it."""
    elements = " ".join(potential.record.elements)
    create_markdown_artifact(
        f"""\
# {campaign.name}: generation {potential.generation}

**{potential.yace}**

{potential.errors}

Start: {potential.record.lineage.start.reason}. Trained on {potential.record.lineage.n_train} structures.

ASE:
```python
from mlip_train import Potential
atoms.calc = Potential.load("{potential.path}").calculator()
```
LAMMPS:
```
pair_style pace
pair_coeff * * {potential.yace} {elements}
```
""",
        key=artifact_key(campaign.root, "potential"),
        description=f"Potential of generation {potential.generation}",
    )


def _error_row(split: str, config_type: str, errors: Errors) -> dict[str, str | int]:
    stress = "" if errors.stress_rmse is None else f"{errors.stress_rmse:.3f}"
    return {
        "set": split,
        "config type": config_type,
        "structures": errors.n_structures,
        "energy RMSE (meV/atom)": f"{errors.energy_rmse:.2f}",
        "energy MAE (meV/atom)": f"{errors.energy_mae:.2f}",
        "force RMSE (meV/Å)": f"{errors.force_rmse:.1f}",
        "force MAE (meV/Å)": f"{errors.force_mae:.1f}",
        "stress RMSE (GPa)": stress,
    }
