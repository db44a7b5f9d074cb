"""Two published potentials on the same structures."""

from mlip_train.base.frozen import Frozen
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import InputError
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residuals import evaluate
from mlip_train.evaluation.summary import summarise
from mlip_train.potential.potential import Potential
from mlip_train.records.errors import SplitErrors

__all__ = ["Comparison", "compare_generations"]


class Comparison(Frozen):
    """Errors of two generations on exactly the same test structures."""

    one: int
    other: int
    of_one: SplitErrors
    of_other: SplitErrors


def compare_generations(campaign: Campaign, one: int, other: int) -> Comparison:
    """Evaluate two published potentials on today's test set, as far as both know its elements.

    Raises
    ------
    InputError
        When one of them does not exist, or there is no test structure that both know.
    """
    first, second = (Potential.of(campaign, generation) for generation in (one, other))
    errors = []
    for potential in (first, second):
        common = set(first.record.reference_energies) & set(second.record.reference_energies)
        unseen = (row.structure for row in campaign.store.iterate("test") if set(row.structure.symbols) <= common)
        exported = Exported.of(potential.yace, potential.baseline)
        errors.append(summarise(evaluate(exported, unseen, potential.record.reference_energies)).errors)
    of_one, of_other = errors
    if of_one is None or of_other is None:
        raise InputError(
            f"{campaign.root} has no test structure that generations {one} and {other} both know; set "
            "test.fraction above 0 and add data"
        )
    return Comparison(one=one, other=other, of_one=of_one, of_other=of_other)
