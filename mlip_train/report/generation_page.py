"""The page of a generation: what it is, how good it is, and how to use it."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from mlip_train.base.files import write_atomically
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.config.assessment import CHECKS
from mlip_train.fit.selection import read_selection
from mlip_train.potential.potential import Potential
from mlip_train.records.checks import Check
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.manifest import Shard
from mlip_train.records.potential import TrainingHistory
from mlip_train.records.selection import Selection
from mlip_train.report.error_tables import compare, groups
from mlip_train.report.learning_curve import draw_learning_curve, read_records
from mlip_train.report.pictures import Picture, draw_distribution, draw_grades, draw_lines, draw_panel, draw_parity
from mlip_train.report.rendering import render
from mlip_train.report.residual_sample import ResidualSample, sample_residuals
from mlip_train.report.snippets import ase_lines, lammps_lines
from mlip_train.report.wording import headline

__all__ = ["write_report"]

_DURATIONS: Final = {
    "engine": "fit",
    "start_up": "start-up and end",
    "evaluator": "evaluator",
    "optimiser": "optimiser",
}


class _Added(NamedTuple):
    """New structures of one config type."""

    config_type: str
    train: int
    test: int


def write_report(campaign: Campaign, generation: int) -> Path:
    """Write the page of a published generation, from its record and what its run left.

    To be called when it is published, and again when a person decides otherwise than the gate; whenever it is
    written, it is the same.

    Raises
    ------
    InputError
        When there is no such potential.
    CorruptFileError
        When a file of it is missing or was changed.
    """
    potential = Potential.load(campaign.bundle_record(generation))
    record, run = potential.record, campaign.generation(generation)
    shard = next((s for s in campaign.store.manifest.shards if s.generation == generation), None)
    records = read_records(campaign, until=generation)
    page = render(
        "generation.html",
        campaign=campaign.name,
        index=_relative(run.report, campaign.report),
        record=record,
        lineage=record.lineage,
        headline=headline(record),
        accept=f"mlip-train accept {shlex.quote(str(campaign.root))} {generation}",
        shard=shard,
        added=_added(shard),
        selection=_selection_of(run),
        seconds=[(_DURATIONS.get(key, key), value) for key, value in record.seconds.items()],
        checks=[(check, CHECKS.get(check.name, check.name), _pictures_of(check)) for check in record.checks],
        loss=list(_loss_pictures(record.history)),
        residuals=list(_residual_pictures(run, record.errors)),
        **_errors(record.errors),
        learning_curve=draw_learning_curve(records),
        records=records,
        potential=potential,
        ase=ase_lines(potential),
        lammps=lammps_lines(potential),
    )
    write_atomically(run.report, page)
    return run.report


def _relative(page: Path, target: Path) -> str:
    return "../" * (len(page.relative_to(target.parent).parts) - 1) + target.name


def _added(shard: Shard | None) -> list[_Added]:
    if shard is None:
        return []
    train, test = (shard.config_types.get(split, {}) for split in ("train", "test"))
    return [_Added(name, train.get(name, 0), test.get(name, 0)) for name in sorted({*train, *test})]


def _selection_of(run: GenerationDirectory) -> Selection | None:
    return read_selection(run) if run.selection.is_file() else None


def _pictures_of(check: Check) -> list[Picture]:
    return [draw_panel(f"check-{check.name}-{number}", panel) for number, panel in enumerate(check.panels, 1)]


def _loss_pictures(history: TrainingHistory) -> Iterator[Picture]:
    if len(history.iteration) < 2:
        return
    axes = {"iteration": [float(i) for i in history.iteration]}
    if len(history.seconds) == len(history.iteration):
        axes["wall time of the fit (s)"] = list(history.seconds)
    for label, x in axes.items():
        place = dict(zip(history.iteration, x, strict=True))
        tests = zip(history.test_iteration, history.test_loss, strict=True)
        tested = [(place[i], loss) for i, loss in tests if i in place]
        lines = {"training set": (x, history.loss, "-")}
        if tested:
            lines["test set"] = ([x for x, _ in tested], tuple(loss for _, loss in tested), "o--")
        name = label.split()[0]
        yield draw_lines(f"loss-{name}", lines, (label, "loss"))


def _residual_pictures(run: GenerationDirectory, errors: Evaluation) -> Iterator[Picture]:
    where, of = ("test", errors.test) if errors.test is not None else ("training", errors.train)
    path = run.residuals_on_test if errors.test is not None else run.residuals_on_train
    sample = sample_residuals(path, of.overall, {worst.structure_id for worst in errors.worst})
    if sample is None:
        return
    yield from _parity_pictures(sample, where)
    yield draw_distribution(
        "energy-errors",
        f"Energy errors on the {where} set. Errors beyond the axis count at its ends.",
        sample.energy_errors,
        ("predicted − DFT (meV/atom)", "structures"),
    )
    yield draw_distribution(
        "force-errors",
        f"Errors of force components on the {where} set. Errors beyond the axis count at its ends.",
        sample.force_errors,
        ("predicted − DFT (meV/Å)", "components"),
    )
    if sample.gamma:
        yield draw_grades("grades", f"Extrapolation grades on the {where} set.", sample.gamma)


def _parity_pictures(sample: ResidualSample, where: str) -> Iterator[Picture]:
    yield draw_parity(
        "energy-parity",
        f"Energies of the {where} set above the reference energies, by config type."
        f"{_sampled(sample.has_left_out_energies)}",
        sample.energies,
        ("DFT energy (eV/atom)", "predicted energy (eV/atom)"),
    )
    yield draw_parity(
        "force-parity",
        f"Force components of the {where} set, by element.{_sampled(sample.has_left_out_forces)}",
        sample.forces,
        ("DFT force (eV/Å)", "predicted force (eV/Å)"),
    )


def _sampled(has_left_out: bool) -> str:
    return " A fixed random sample, and the worst structures in full." if has_left_out else ""


def _errors(errors: Evaluation) -> dict[str, object]:
    judged = errors.test if errors.test is not None else errors.train
    common, before = errors.comparable or judged, errors.before
    parts = [("Config type", "structures"), ("Element", "atoms")]
    return {
        "errors": errors,
        "judged_on": "test" if errors.test is not None else "training",
        "judged": judged.overall,
        "common": common.overall,
        "overall": compare(common.overall, before.overall if before else None),
        "tables": [(*part, groups(judged, before, errors.compared, of=part[0].lower())) for part in parts],
        "new_by_config_type": groups(errors.new, of="config type") if errors.new else [],
    }
