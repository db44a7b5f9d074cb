"""A committee: fits of a generation to other samples of its structures. Where they differ, it is not certain."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlip_train.ace.samples import AT_ONCE
from mlip_train.atoms.structure import Structure
from mlip_train.base.arrays import FloatArray
from mlip_train.base.files import hash_of
from mlip_train.base.parallel import in_chunks, over_chunks
from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.fit_plan import FitPlan, recorded_fit
from mlip_train.campaign.generation_directory import GenerationDirectory
from mlip_train.errors import InconsistentPotentialError, TrainingFailedError
from mlip_train.fit.calibration import calibrate
from mlip_train.fit.closing import close_and_export
from mlip_train.fit.planning import prepare_fit, write_fit
from mlip_train.fit.selection import chosen_times, draw_sample
from mlip_train.fit.starting import solve_starts, take_over_basis
from mlip_train.fit.training import record_solved
from mlip_train.potential.committee_calculator import CommitteeCalculator, CommitteeFiles
from mlip_train.records.committee import CommitteeRecord
from mlip_train.records.fit import LinearSolution
from mlip_train.records.reference import SettledReference

__all__ = ["form_committee", "members_of", "prepare_member", "solve_members"]


def members_of(plan: FitPlan) -> tuple[FitPlan, ...]:
    """The fits of a generation's committee: each is that of the generation, on a sample of its own.

    The test set is for what comes of them; their fits need none.
    """
    kept = {"start": plan.start.model_copy(update={"resumed_after": 0}), "epochs": plan.config.fit.max_epochs}
    anew = {"solution": None, "start_errors": None, "n_test": 0}
    return tuple(
        plan.model_copy(
            update={
                **kept,
                **anew,
                "member": n,
                "run": plan.run.member(n),
                "identity": hash_of([plan.identity, n]),
            }
        )
        for n in range(1, plan.config.committee.members + 1)
    )


def prepare_member(member: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> FitPlan:
    """Draw a member's sample and write all that the engine needs; see `plan_fit` for the errors raised."""
    _draw(member)
    take_over_basis(_generation_of(member), member.run)
    plan = prepare_fit(member, on_progress)
    write_fit(plan)
    return plan


def solve_members(plan: FitPlan, on_progress: Callable[[int], None] = lambda done: None) -> tuple[FitPlan, ...]:
    """Solve for the members of a generation that is a linear solution, as many as are not solved yet.

    Each structure is projected once for all of them, and they have the ridge that the generation's own solution
    has from its cross-validation.

    Raises
    ------
    TrainingFailedError
        When the plan holds no linear solution, or one of theirs is not finite.
    """
    if plan.solution is None:
        raise TrainingFailedError(f"{plan.name} has no linear solution to vary; set fit.max_epochs above 0")
    members = members_of(plan)
    unsolved = [member for member in members if recorded_fit(member.run, member.identity) is None]
    for together in in_chunks(unsolved, AT_ONCE):
        _solve(plan, together, plan.solution, on_progress)
    return members


def _solve(
    plan: FitPlan, members: Sequence[FitPlan], solution: LinearSolution, on_progress: Callable[[int], None]
) -> None:
    began = time.monotonic()
    for member in members:
        member.run.fit_record.unlink(missing_ok=True)
        _draw(member)
    solve_starts(plan, [member.run for member in members], _times_drawn(members), solution, on_progress)
    seconds = (time.monotonic() - began) / len(members)
    for member in members:
        record_solved(member, solution, seconds)


def _draw(member: FitPlan) -> None:
    draw_sample(_generation_of(member), member.run, (member.config.fit.seed, member.member))


def _generation_of(member: FitPlan) -> GenerationDirectory:
    return Campaign(member.campaign).generation(member.generation)


def _times_drawn(members: Sequence[FitPlan]) -> dict[str, NDArray[np.int64]]:
    """How often each structure is in the sample of each member, as far as it is in one."""
    samples = [chosen_times(member.run) for member in members]
    drawn = set().union(*samples)
    return {name: np.array([sample[name] for sample in samples]) for name in drawn}


def form_committee(plan: FitPlan, reference: SettledReference, members: Sequence[FitPlan]) -> CommitteeRecord:
    """Close and export members as their generation is, and calibrate their spread by its errors on the test set.

    Parameters
    ----------
    plan : FitPlan
        The generation, whose potential is closed and exported.
    reference : SettledReference
        How it was closed at short distance.
    members : sequence of FitPlan
        Those whose fits ended well.

    Raises
    ------
    TrainingFailedError
        When they are fewer than two.
    InconsistentPotentialError
        When one predicts what is not a finite number.
    """
    if len(members) < 2:
        raise TrainingFailedError(
            f"only {len(members)} of {plan.config.committee.members} members were fitted; it takes two to differ"
        )
    for member in members:
        close_and_export(member.run.fitted_potential, member.run, reference)
    files = (member.run.exported_potential for member in members)
    committee = CommitteeFiles.of(plan.run.exported_potential, plan.baseline, files)
    store = Campaign(plan.campaign).store
    tested = (row.structure for row in store.iterate("test"))
    compared = _compare(committee, tested, store.manifest.reference_energies)
    record = CommitteeRecord(members=tuple(member.member for member in members), n_structures=len(compared))
    if not compared:
        return record
    energy = calibrate([one.energy_error for one in compared], [one.energy_spread for one in compared])
    force = calibrate([one.force_error for one in compared], [one.force_spread for one in compared])
    return record.model_copy(update={"energy": energy, "force": force})


class _Compared(NamedTuple):
    """Error of the potential and spread of its members, of one structure."""

    energy_error: FloatArray  # (1, 1), eV/atom
    energy_spread: FloatArray  # (1,), eV/atom
    force_error: FloatArray  # (n, 3), eV/Å
    force_spread: FloatArray  # (n,), eV/Å


def _compare(
    committee: CommitteeFiles, structures: Iterable[Structure], reference_energies: Mapping[str, float]
) -> list[_Compared]:
    work = partial(_compare_chunk, reference_energies=dict(reference_energies))
    compared = [one for chunk in over_chunks(work, committee, in_chunks(structures)) for one in chunk]
    if not all(np.isfinite(array).all() for one in compared for array in one):
        raise InconsistentPotentialError("a member predicts numbers that are not finite for the test set")
    return compared


def _compare_chunk(
    calculator: CommitteeCalculator, chunk: list[Structure], reference_energies: Mapping[str, float]
) -> list[_Compared]:
    compared = []
    for structure in chunk:
        calculator.calculate(structure.to_atoms())
        results, n_atoms = calculator.results, len(structure.numbers)
        energy = results["energy"] + sum(reference_energies[symbol] for symbol in structure.symbols)
        compared.append(
            _Compared(
                energy_error=np.array([[(energy - structure.energy) / n_atoms]]),
                energy_spread=np.array([results["energy_std"] / n_atoms]),
                force_error=np.array(results["forces"]) - structure.forces,
                force_spread=results["forces_std"],
            )
        )
    return compared
