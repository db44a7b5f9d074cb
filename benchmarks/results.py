"""The last results of every benchmark, kept as JSON beside it, and what has changed since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["compare"]

FOLDER = Path(__file__).parent / "results"


def compare(name: str, figures: Mapping[str, float], *, keep: bool) -> None:
    """Print figures beside the last ones that were kept, and keep them if that is wanted.

    Parameters
    ----------
    name : str
        Of the benchmark.
    figures : mapping of str to float
        Named with their units. Ratios within one run say more than times, which are those of a machine.
    keep : bool
        Whether these take the place of the last ones.
    """
    path = FOLDER / f"{name}.json"
    before: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    table = Table(title=f"{name}, beside the last results kept")
    for header in ("figure", "now", "last", "change"):
        table.add_column(header, justify="left" if header == "figure" else "right")
    for figure, value in figures.items():
        last = before.get(figure)
        change = "" if not last else f"{value / last - 1:+.0%}"
        table.add_row(figure, f"{value:.4g}", "" if last is None else f"{last:.4g}", change)
    Console(soft_wrap=True).print(table)
    if keep:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(figures), indent=1, sort_keys=True) + "\n")
        print(f"kept in {path}")
