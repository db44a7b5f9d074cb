"""Errors over the generations of a campaign."""

from collections.abc import Callable, Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mlip_train.campaign.campaign import Campaign
from mlip_train.records.errors import Errors
from mlip_train.records.potential import PotentialRecord
from mlip_train.report.pictures import BLUE, ORANGE, Picture, draw

__all__ = ["draw_learning_curve", "read_records"]

_ON = "On the test set that each generation had."


def read_records(campaign: Campaign, until: int | None = None) -> list[PotentialRecord]:
    """Records of all published potentials, in order, up to a generation.

    Their files are not looked at: an old one that somebody removed to save space is no reason to write no page.

    Raises
    ------
    CorruptFileError
        When a record cannot be read.
    """
    generations = [n for n in campaign.published_generations() if until is None or n <= until]
    return [PotentialRecord.load(campaign.bundle_record(generation)) for generation in generations]


def draw_learning_curve(records: Iterable[PotentialRecord]) -> list[Picture]:
    """Draw the test errors of energies and forces; nothing where there are less than two to compare."""
    tested = [record for record in records if record.errors.test is not None]
    if len(tested) < 2:
        return []
    return [
        draw("learning-energy", _ON, _course(tested, _energy, "energy RMSE (meV/atom)")),
        draw("learning-force", _ON, _course(tested, _force, "force RMSE, components (meV/Å)")),
    ]


def _energy(errors: Errors) -> float:
    return errors.energy_rmse


def _force(errors: Errors) -> float:
    return errors.force_rmse


def _course(records: list[PotentialRecord], of: Callable[[Errors], float], label: str) -> Callable[[Axes], None]:
    def points(*, accepted: bool) -> tuple[list[int], list[float]]:
        chosen = [r for r in records if r.accepted is accepted and r.errors.test is not None]
        return [r.generation for r in chosen], [of(r.errors.test.overall) for r in chosen if r.errors.test]

    def onto(axes: Axes) -> None:
        axes.plot(*points(accepted=True), "o-", color=BLUE, label="accepted")
        x, y = points(accepted=False)
        if x:
            axes.plot(x, y, "x", color=ORANGE, markersize=7, markeredgewidth=2, label="rejected")
            axes.legend()
        axes.set(xlabel="generation", ylabel=label)
        axes.set_ylim(0, 1.1 * max(of(r.errors.test.overall) for r in records if r.errors.test))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return onto
