from __future__ import annotations

import numpy as np
import pytest

from mlip_train.ace.cross_validation import RIDGES, most_stress, validate
from mlip_train.ace.normal_equations import RowSum, Shares, Terms

SHARES = Shares(0.7, 0.3, 0.0)
N = 6


def folds(seed: int = 1, *, contradiction: float = 0.0, with_stress: bool = True) -> list[Terms]:
    """Labels of one true model with noise; stress may be labelled by another one."""
    random = np.random.default_rng(seed)
    truth, other = random.normal(size=(2, N))
    made = []
    for _ in range(5):
        terms = []
        for kind, count in (("energy", 8), ("forces", 24), ("stress", 12 if with_stress else 0)):
            rows = random.normal(size=(count, N))
            model = truth + contradiction * other if kind == "stress" else truth
            total = RowSum(N)
            total.add(rows, rows @ model + random.normal(0, 0.1, count))
            terms.append(total.total())
        made.append(Terms(*terms))
    return made


def left_out(made: list[Terms], shares: Shares, ridge: float) -> list[float]:
    """Root mean square errors of each kind on folds that were left out, the slow way."""
    losses = np.zeros(3)
    for number, fold in enumerate(made):
        gram, moment = np.zeros((N, N)), np.zeros(N)
        for other in made[:number] + made[number + 1 :]:
            for share, term in zip(shares, other, strict=True):
                gram, moment = gram + share * term.gram, moment + share * term.moment
        solution = np.linalg.solve(gram + ridge * np.diag(np.diag(gram)), moment)
        losses += [term.loss(solution) for term in fold]
    return np.sqrt(losses).tolist()


def test_errors_are_those_on_what_was_left_out() -> None:
    shares = Shares(0.7, 0.3, 0.2)
    found = validate(folds(), shares)
    assert found.ridge in RIDGES
    assert list(found[1:]) == pytest.approx(left_out(folds(), shares, found.ridge), rel=1e-6)


def test_one_fold_alone_is_not_validated() -> None:
    assert validate([folds()[0]], SHARES).ridge == 1e-8


def test_stress_that_agrees_gets_a_large_share() -> None:
    shares, found = most_stress(folds(), SHARES)
    assert shares[:2] == SHARES[:2]
    assert shares.stress > 0.1  # about as much as the others, whose noise is the same
    assert found.stress <= validate(folds(), SHARES).stress


@pytest.mark.parametrize("contradiction", [0.3, 1.0, 3.0])
def test_stress_that_contradicts_gets_what_the_other_errors_bear(contradiction: float) -> None:
    made = folds(contradiction=contradiction)
    without = validate(made, SHARES)

    shares, found = most_stress(made, SHARES)

    assert 0.0 < shares.stress < 1.0
    assert found.energy <= 1.03 * without.energy
    assert found.forces <= 1.03 * without.forces
    assert found.stress < without.stress
    more = validate(made, shares._replace(stress=shares.stress * 10**0.25))
    assert more.energy > 1.03 * without.energy or more.forces > 1.03 * without.forces


def test_without_stress_there_is_nothing_to_share() -> None:
    assert most_stress(folds(with_stress=False), SHARES)[0] == SHARES


def test_stress_of_one_fold_cannot_tell() -> None:
    made = folds()
    alone = [made[0], *(fold._replace(stress=RowSum(N).total()) for fold in made[1:])]
    assert most_stress(alone, SHARES)[0] == SHARES


def test_what_is_not_learned_is_not_asked() -> None:
    made = folds(contradiction=1.0)
    on_forces = Shares(0.0, 1.0, 0.0)
    shares, found = most_stress(made, on_forces)
    assert found.forces <= 1.03 * validate(made, on_forces).forces
    more = validate(made, shares._replace(stress=shares.stress * 10**0.25))
    assert more.forces > 1.03 * validate(made, on_forces).forces


def test_kinds_without_rows_are_summed_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    total = RowSum(N)
    total.add(np.empty((0, N)), np.empty(0))
    assert not total.total().gram.any()
    assert capfd.readouterr() == ("", "")
