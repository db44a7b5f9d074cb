"""The base of every pydantic model: frozen, and an unknown key is an error that names a known one."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mlip_train.base.files import write_atomically
from mlip_train.errors import CorruptFileError

__all__ = ["Frozen", "Variant", "explain", "nearest_key"]


class Frozen(BaseModel):
    """Immutable values of a JSON file that refuse unknown keys and say which known key was probably meant."""

    # What a file of such values is, and what to do when it is not: for the message of `load`.
    file_is: ClassVar[str] = "readable"
    remedy: ClassVar[str] = "restore it from a backup"

    # Inputs are hidden in what pydantic prints, which ends in the logs of a flow run; `explain` shows single ones.
    # Titles, which head the fields of a form, are the keys that campaign.yaml has.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        field_title_generator=lambda name, _: name,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key, value in values.items():
                field = cls.model_fields.get(key)
                allowed = set() if field is None else {field.annotation, *get_args(field.annotation)}
                if isinstance(value, bool) and allowed & {int, float}:
                    raise ValueError(f"{key} must be a number, not {value} (YAML reads yes, no, on, off so)")
            unknown = [key for key in values if key not in cls.model_fields]
            if unknown:
                messages = (f"unknown key {key!r}; {nearest_key(str(key), cls.model_fields)}" for key in unknown)
                raise ValueError(", ".join(messages))
        return values

    def save(self, path: Path) -> None:
        """Write these values as JSON, in one step."""
        write_atomically(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        CorruptFileError
            When the file holds something else.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            reason = explain(error).splitlines()[0]
            raise CorruptFileError(f"{path} is not {cls.file_is} ({reason}); {cls.remedy}") from error

    @classmethod
    def load_if_known(cls, path: Path) -> Self | None:
        """Read what `save` wrote; None where there is no file, or one of another version of this program."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None


class Variant(Frozen):
    """One member of a union that `kind` tells apart: it counts as chosen, so that no dump leaves it out."""

    def model_post_init(self, context: Any, /) -> None:
        """Note that `kind` was said; without it what is written could not be read again."""
        self.model_fields_set.add("kind")


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Say which of the known keys a misspelled one was probably meant to be."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known keys: {', '.join(names)}"


def explain(error: ValidationError, values: Any = None) -> str:
    """Turn pydantic's report into one line per problem: `basis.cutoff: what is wrong`.

    Where the values are known, a key is named only if they hold it: pydantic's own names for the
    members of a union mean nothing to a person.
    """
    lines = []
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "too_short" and any(_inside(other["loc"], problem["loc"]) for other in problems):
            continue  # a list that is short only because its wrong entries were left out
        parts = map(str, problem["loc"])
        where = ".".join(parts if values is None else _keys(problem["loc"], values, problem["type"] == "missing"))
        message = problem["msg"].removeprefix("Value error, ")
        given = problem.get("input")
        shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
        lines.append(f"{where + ': ' if where else ''}{message}{shown}")
    return "\n".join(lines)


def _inside(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _keys(loc: tuple[int | str, ...], values: Any, is_missing: bool) -> Iterator[str]:
    """The parts of a location that the values have, without pydantic's names for members of a union."""
    for number, part in enumerate(loc, 1):
        in_list = isinstance(values, (list, tuple)) and isinstance(part, int)
        if in_list or (isinstance(values, dict) and part in values):
            values = values[part]
        elif not (is_missing and number == len(loc)):
            continue
        yield str(part)
