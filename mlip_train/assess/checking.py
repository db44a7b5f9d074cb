"""The checks of a potential, from the files themselves to what MD makes of them."""

import importlib
from collections.abc import Iterator
from typing import Any, Protocol, cast

from mlip_train.assess.subject import Subject
from mlip_train.config.assessment import CHECKS
from mlip_train.records.checks import Check

__all__ = ["CheckFunction", "check_fit", "check_named"]


class CheckFunction(Protocol):
    """Looks at a potential by the rule that `physics` in campaign.yaml gives for it."""

    def __call__(self, subject: Subject, rule: Any) -> Check:
        """Return what was found."""
        ...


def check_named(name: str) -> CheckFunction:
    """The check of a name: the function `check` of the module of that name in this room."""
    return cast("CheckFunction", importlib.import_module(f"mlip_train.assess.{name}").check)


def check_fit(subject: Subject) -> Iterator[Check]:
    """Make the checks that the campaign asks for, one after the other; judging them is the gate's part."""
    for name in CHECKS:
        rule = getattr(subject.plan.config.physics, name, True)
        if rule:
            yield check_named(name)(subject, rule)
