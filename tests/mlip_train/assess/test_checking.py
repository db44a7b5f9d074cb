"""The table of checks, and the checks as a generation makes them."""

from __future__ import annotations

from typing import Any

import pytest

from mlip_train.assess.checking import check_fit, check_named
from mlip_train.assess.subject import Subject
from mlip_train.config.assessment import CHECKS, Physics, ShortMD


def with_physics(subject: Subject, **rules: Any) -> Subject:
    config = subject.plan.config.model_copy(update={"physics": Physics(**rules)})
    return Subject(subject.plan.model_copy(update={"config": config}), subject.closed)


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_of_the_table_is_there(name: str) -> None:
    assert callable(check_named(name))


def test_the_checks_are_made_one_after_the_other_in_the_order_of_the_table(subject: Subject) -> None:
    found = list(check_fit(with_physics(subject, nve=ShortMD(steps=10))))
    assert [check.name for check in found] == list(CHECKS)
    assert [(check.name, check.finding) for check in found if check.passed is False] == []
    assert {check.name for check in found if check.panels} == set(CHECKS) - {"consistency"}


@pytest.mark.parametrize("name", Physics.model_fields)
def test_what_is_switched_off_is_not_checked(subject: Subject, name: str) -> None:
    off: dict[str, Any] = dict.fromkeys(Physics.model_fields, False) | {"nve": None}
    rule = ShortMD(steps=10) if name == "nve" else True
    assert [check.name for check in check_fit(with_physics(subject, **off))] == ["consistency"]
    found = [check.name for check in check_fit(with_physics(subject, **off | {name: rule}))]
    assert found == ["consistency", name]
