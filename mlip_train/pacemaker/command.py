"""The engine's command line: finding the program, and one safely quoted line of shell."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mlip_train.errors import EngineNotFoundError

__all__ = ["find_engine", "shell_lines"]


def find_engine(command: Sequence[str]) -> list[str]:
    """Resolve the program of `engine.command`: beside this Python first, then on the PATH.

    Raises
    ------
    EngineNotFoundError
        Naming the program and how to get it.
    """
    program, *arguments = command
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(program)
    if found is None:
        raise EngineNotFoundError(
            f"engine.command: {program!r} was not found beside {sys.executable} nor on the PATH; run "
            "`make install` in the project, or give its full path"
        )
    return [str(Path(found).absolute()), *arguments]


def shell_lines(engine: Sequence[str], input_yaml: Path, log: Path) -> list[str]:
    """Lines of bash that become the engine, its output appended to `log`.

    `setpriv` (util-linux) ends the engine when the flow's process dies, however it dies; without it
    a killed flow would leave the engine running.
    """
    guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    line = shlex.join([*guard, *engine, str(input_yaml)])
    return ["set -euo pipefail", f"exec {line} >> {shlex.quote(str(log))} 2>&1"]
