"""Templates, and how numbers stand in them. What is put in is escaped: names come from other people's files."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["ABSENT", "number", "render"]

ABSENT: Final = "–"  # in tables, whose notes say what it means
_DIGITS: Final = 3  # significant ones
# control characters, which HTML forbids, and those that make the text around them run the other way
_UNREADABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def render(template: str, **content: Any) -> str:
    """Fill in a template of this package."""
    return _UNREADABLE.sub("\ufffd", _environment().get_template(template).render(**content))


def number(value: float | None) -> str:
    """Three significant digits, and all digits before the decimal point."""
    if value is None:
        return ABSENT
    if isinstance(value, int) or value == 0:
        text = str(int(value))
    elif 1e-4 <= abs(value) < 1e6:
        # as in `%g`, but with the zeros at the end, which are digits too; rounded first, 9.996 is 10.0
        rounded = float(f"{value:.{_DIGITS - 1}e}")
        decimals = _DIGITS - 1 - int(f"{rounded:e}".split("e")[1])
        text = f"{value:.{max(decimals, 0)}f}"
    else:
        text = f"{value:.{_DIGITS - 1}e}"
    return text.replace("-", "−", 1) if value < 0 else text


def _signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def _exact(value: float) -> str:
    """Show all digits that matter, of an energy that is added to others."""
    return f"{value:.6f}".replace("-", "−")


def _sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    ended = text if text.endswith((".", "!", "?")) else f"{text}."
    return ended[:1].upper() + ended[1:]


def _breakable(path: str) -> Markup:
    """A path whose lines may end after a slash."""
    return Markup("/<wbr>").join(path.split("/"))


def _date(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _short(checksum: str | None) -> Markup:
    """The beginning of a checksum, which names a thing well enough."""
    return Markup("none") if checksum is None else Markup("<code>{}</code>").format(checksum[:12])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlip_train.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "signed": _signed, "exact": _exact, "sentence": _sentence}
    environment.filters |= {"date": _date, "short": _short, "breakable": _breakable}
    return environment
