"""The page of a campaign: all generations at a glance."""

from pathlib import Path

from mlip_train.base.files import write_atomically
from mlip_train.campaign.campaign import Campaign
from mlip_train.potential.potential import Potential
from mlip_train.records.potential import PotentialRecord
from mlip_train.report.dataset_file import write_dataset_file
from mlip_train.report.dataset_map import draw_dataset_map, read_points
from mlip_train.report.learning_curve import draw_learning_curve, read_records
from mlip_train.report.rendering import render
from mlip_train.report.wording import headline

__all__ = ["write_index"]


def write_index(campaign: Campaign) -> Path:
    """Write the page of a campaign, and its dataset for an interactive map where it is not too large for one.

    To be called when a generation is published and when a person decides on one, after `write_report`.

    Raises
    ------
    CorruptFileError
        When a record or the dataset's manifest cannot be read.
    """
    records = read_records(campaign)
    page = render(
        "campaign.html",
        campaign=campaign.name,
        root=campaign.root,
        current=Potential.current(campaign),
        rows=[(record, headline(record), _report_of(campaign, record)) for record in reversed(records)],
        records=records,
        learning_curve=draw_learning_curve(records),
        maps=draw_dataset_map(read_points(campaign)),
        interactive=write_dataset_file(campaign),
        count={split: campaign.store.count(split) for split in ("train", "test")},
    )
    write_atomically(campaign.report, page)
    return campaign.report


def _report_of(campaign: Campaign, record: PotentialRecord) -> str | None:
    """Where the page of a generation is, as seen from that of the campaign."""
    page = campaign.generation(record.generation).report
    return page.relative_to(campaign.root).as_posix() if page.is_file() else None
