"""Telling how far a long step has come, now and then."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["every"]


def every(step: int, tell: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that passes a growing count on whenever another `step` is reached."""
    told = 0

    def report(done: int) -> None:
        nonlocal told
        if done // step > told:
            told = done // step
            tell(done)

    return report
