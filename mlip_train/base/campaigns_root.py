"""Keeping paths that come from elsewhere, such as a form, below one directory: MLIP_CAMPAIGNS_ROOT.

Without that variable every path is allowed, as for a person at a shell. Links are followed before a
path is judged, so one that leads out is outside. A folder elsewhere that shall be used is mounted below
the root, not linked.
"""

import glob
import os
from itertools import takewhile
from pathlib import Path
from typing import Final

from mlip_train.errors import InputError

__all__ = ["VARIABLE", "campaigns_root", "refuse_escape", "resolve_inside"]

VARIABLE: Final = "MLIP_CAMPAIGNS_ROOT"


def campaigns_root() -> Path | None:
    """The directory that no path may leave, or None when the variable is not set.

    Raises
    ------
    InputError
        When the variable names no directory: a guard with a slip in it must not let everything pass.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        return None
    root = Path(named)
    if not root.is_absolute() or not root.is_dir():
        raise InputError(
            f"{VARIABLE} is {named!r}, which is not the absolute path of a directory; make that directory, name "
            f"another one, or unset {VARIABLE}"
        )
    return root.resolve()


def resolve_inside(path: str | Path) -> Path:
    """Make a path absolute, its links followed; it need not exist.

    Raises
    ------
    InputError
        When it leaves the campaigns' root, or nothing can be there.
    """
    root = campaigns_root()
    try:
        resolved = Path(path).expanduser().resolve()
        is_inside = root is None or resolved.is_relative_to(root)
        if is_inside:
            resolved.exists()  # raises for a name too long, or below a folder that must not be entered
    except (OSError, RuntimeError, ValueError) as error:  # also loops of links, unknown users, NUL characters
        raise InputError(f"{str(path)!r} cannot be looked up ({error}); give another path") from error
    if not is_inside:
        raise InputError(
            f"{path} leads to {resolved}, outside of {VARIABLE} = {root}; give a path below {root}, or move or "
            "mount there what it names (a link out of it does not count)"
        )
    return resolved


def refuse_escape(source: str | Path) -> None:
    """Check a path or glob pattern before anything is looked up, so that not even its existence is revealed.

    What a pattern then finds is for `resolve_inside`: a link among it may lead out.

    Raises
    ------
    InputError
        When it begins outside the campaigns' root or climbs after its first wildcard.
    """
    if campaigns_root() is None:
        return
    parts = Path(source).parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    resolve_inside(Path(source) if fixed == list(parts) else Path(*fixed).absolute())
    if ".." in parts[len(fixed) :]:
        raise InputError(f"{source}: '..' after a wildcard could leave {VARIABLE}; write the pattern without '..'")
