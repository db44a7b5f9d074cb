"""Pages that a person reads: one for each generation, and one for the campaign."""

from mlip_train.report.campaign_page import write_index
from mlip_train.report.generation_page import write_report

__all__ = ["write_index", "write_report"]
