"""The base of every pydantic model: frozen, and an unknown key is an error that names a known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

__all__ = ["FrozenModel", "explain", "nearest_key"]


class FrozenModel(BaseModel):
    """Immutable model that refuses unknown keys and says which known key was probably meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}; {nearest_key(str(key), cls.model_fields)}")
        return values


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Say which of the known keys a misspelled one was probably meant to be."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known keys: {', '.join(names)}"


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one line per problem: `basis.cutoff: what is wrong`."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        given = problem.get("input")
        shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
        lines.append(f"{where + ': ' if where else ''}{message}{shown}")
    return "\n".join(lines)
