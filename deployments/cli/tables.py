"""What the command line shows: the same facts as tables for people and as plain values for machines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.markup import escape
from rich.table import Table

from mlip_train.assess.comparison import Comparison
from mlip_train.campaign.campaign import Campaign
from mlip_train.intake.reading import Batch
from mlip_train.potential.potential import Potential
from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.manifest import Shard

if TYPE_CHECKING:
    from deployments.cli.doctor import Finding
    from flows.train_generation import GenerationResult

__all__ = [
    "batch_table",
    "comparison_table",
    "errors_table",
    "findings_table",
    "generations_table",
    "overview",
    "result_summary",
    "where_things_are",
]


_FACTS_OF_A_POTENTIAL: Final = (
    "start",
    "learned_from",
    "stopped",
    "iterations",
    "engine_seconds",
    "errors",
    "verdict",
    "decisions",
    "checks",
)


def result_summary(result: GenerationResult) -> dict[str, Any]:
    """What `mlip-train run --json` prints."""
    potential = result.potential
    return {
        "status": result.status,
        "generation": potential.generation if potential else None,
        "potential": str(potential.yace) if potential else None,
        "bundle": str(potential.path) if potential else None,
        "start": str(potential.record.lineage.start) if potential else None,
        "stopped": potential.record.convergence if potential else None,
        "errors": potential.errors.model_dump() if potential else None,
        "batch": result.batch.model_dump(),
    }


def overview(campaign: Campaign) -> dict[str, Any]:
    """Everything that `mlip-train status` tells."""
    current, store = Potential.current(campaign), campaign.store
    return {
        "campaign": str(campaign.root),
        "elements": list(campaign.config.elements),
        "train": store.count("train"),
        "test": store.count("test"),
        "quarantined": campaign.count_quarantined(),
        "dataset_hash": store.manifest.dataset_hash,
        "generations": [_of_generation(campaign, shard) for shard in store.manifest.shards],
        "current": str(current.yace) if current else None,
        "report": str(campaign.report) if campaign.report.exists() else None,
        "loss_curve": str(campaign.generation(current.generation).loss_curve) if current else None,
    }


def _of_generation(campaign: Campaign, shard: Shard) -> dict[str, Any]:
    report = campaign.generation(shard.generation).report
    facts = {
        "generation": shard.generation,
        "new_train": shard.structures.get("train", 0),
        "new_test": shard.structures.get("test", 0),
        "report": str(report) if report.exists() else None,
    }
    if not campaign.bundle_record(shard.generation).exists():
        return facts | {"state": "not finished", **dict.fromkeys(_FACTS_OF_A_POTENTIAL)}
    record = Potential.of(campaign, shard.generation).record
    values = (
        record.lineage.start.kind,
        record.lineage.n_train,
        record.convergence,
        record.history.iteration[-1],
        record.seconds["engine"],
        record.errors.model_dump(),
        record.verdict.model_dump(),
        [decision.model_dump(mode="json") for decision in record.decisions],
        {check.name: check.word for check in record.checks},
    )
    return facts | {"state": record.state, **dict(zip(_FACTS_OF_A_POTENTIAL, values, strict=True))}


def generations_table(name: str, facts: dict[str, Any]) -> Table:
    """One line per generation."""
    table = _table(f"Campaign {name}: {', '.join(facts['elements'])}")
    headers = ["gen.", "new\ntrain", "new\ntest", "start", "iter.", "time", "tested\non"]
    for header in (*headers, "E RMSE\nmeV/atom", "F RMSE\nmeV/Å", "state"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in facts["generations"]:
        errors = (row["errors"] or {}).get("test") or (row["errors"] or {}).get("train")
        overall = errors["overall"] if errors else None
        table.add_row(
            str(row["generation"]),
            str(row["new_train"]),
            str(row["new_test"]),
            row["start"] or "",
            "" if row["iterations"] is None else str(row["iterations"]),
            "" if row["engine_seconds"] is None else f"{row['engine_seconds']:.0f} s",
            "" if overall is None else str(overall["n_structures"]),
            "" if overall is None else f"{overall['energy_rmse']:.1f}",
            "" if overall is None else f"{overall['force_rmse']:.0f}",
            row["state"].partition(" by ")[0] + ("\nby hand" if row["decisions"] else ""),
        )
    table.caption = (
        "Errors are against DFT on the test structures known at the time (the training set where there are "
        "none). `mlip-train evaluate` compares on any data."
    )
    table.caption_justify = "left"
    return table


def where_things_are(facts: dict[str, Any]) -> list[str]:
    """Paths that a person looks for."""
    lines = [f"Dataset:     {facts['train']} structures for training, {facts['test']} for testing"]
    if facts["quarantined"]:
        lines.append(f"Quarantine:  {facts['quarantined']} refused, see {facts['campaign']}/quarantine")
    if facts["report"]:
        lines.append(f"Report:      {facts['report']}")
    if facts["current"]:
        lines += [f"Loss curve:  {facts['loss_curve']}", f"Potential:   {facts['current']}"]
    else:
        lines.append("Potential:   none yet")
    return lines


def errors_table(title: str, errors: SplitErrors) -> Table:
    """Errors overall and per config type."""
    table = _table(title)
    table.add_column("config type")
    table.add_column("count", justify="right")
    energy, force = "energy {}\nmeV/atom", "force {}\nmeV/Å"
    headers = [quantity.format(kind) for quantity in (energy, force) for kind in ("RMSE", "MAE")]
    for header in (*headers, "stress RMSE\nGPa"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, of_type in {**errors.by_config_type, "all": errors.overall}.items():
        table.add_row(escape(name), *_cells(of_type), style="bold" if name == "all" else None)
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Errors of two generations side by side, overall and per config type."""
    table = _table(f"On the same {comparison.of_one.overall.n_structures} test structures")
    table.add_column("config type")
    table.add_column("count", justify="right")
    for quantity in ("energy RMSE\nmeV/atom", "force RMSE\nmeV/Å"):
        for generation in (comparison.one, comparison.other):
            table.add_column(f"{quantity}\ngen. {generation}", justify="right", no_wrap=True)
        table.add_column("change", justify="right", no_wrap=True)
    of_one, of_other = comparison.of_one, comparison.of_other
    for name, one in {**of_one.by_config_type, "all": of_one.overall}.items():
        other = of_other.overall if name == "all" else of_other.by_config_type[name]
        table.add_row(
            escape(name),
            str(one.n_structures),
            *_change(one.energy_rmse, other.energy_rmse, 2),
            *_change(one.force_rmse, other.force_rmse, 1),
            style="bold" if name == "all" else None,
        )
    return table


def _change(one: float, other: float, digits: int) -> tuple[str, str, str]:
    change = f"{other / one - 1:+.0%}" if one else ""
    return f"{one:.{digits}f}", f"{other:.{digits}f}", change


def _table(title: str | None = None) -> Table:
    return Table(
        title=escape(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _cells(errors: Errors) -> list[str]:
    return [
        str(errors.n_structures),
        f"{errors.energy_rmse:.2f}",
        f"{errors.energy_mae:.2f}",
        f"{errors.force_rmse:.1f}",
        f"{errors.force_mae:.1f}",
        "" if errors.stress_rmse is None else f"{errors.stress_rmse:.3f}",
    ]


def batch_table(batch: Batch) -> Table:
    """Usable and refused frames per file."""
    good = Counter(structure.source for structure in batch.structures)
    isolated = Counter(atom.source for atom in batch.isolated_atoms)
    refused = Counter(refusal.source for refusal in batch.refusals)
    table = _table()
    table.add_column("file", overflow="fold")
    for header in ("usable", "isolated atoms", "refused"):
        table.add_column(header, justify="right")
    for source in dict.fromkeys([*good, *isolated, *refused]):
        table.add_row(escape(source), str(good[source]), str(isolated[source]), str(refused[source]))
    return table


def findings_table(findings: list[Finding]) -> Table:
    """What the doctor found."""
    table = _table()
    for header in ("", "what", "found", "to mend it"):
        table.add_column(header, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.good else "[red]no[/]"
        remedy = "" if finding.good else finding.remedy
        table.add_row(mark, finding.what, escape(finding.found), escape(remedy))
    return table
