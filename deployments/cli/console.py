"""How the command line speaks: to people on stderr, to scripts on stdout, and by its exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from typer.core import TyperGroup

from mlip_train.errors import MlipTrainError, RejectedPotentialError

__all__ = [
    "Commands",
    "console",
    "errors_become_exit_codes",
    "interruption_is_explained",
    "print_json",
    "root",
    "say",
]

# Everything for people goes to stderr; stdout is for what a script would read.
console = Console(stderr=True, soft_wrap=True)

_TRACEBACK = "--traceback"


@dataclass
class _Shown:
    """What is shown of an error beside its message."""

    traceback: bool = False


_shown = _Shown()


class Commands(TyperGroup):
    """Commands that take `--traceback` in any place."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move it to the front, where the program itself looks for it."""
        given = [_TRACEBACK] if _TRACEBACK in args else []
        return super().parse_args(ctx, [*given, *(argument for argument in args if argument != _TRACEBACK)])


def root(
    traceback: Annotated[
        bool, typer.Option(_TRACEBACK, help="Show where in the program an error arose; of any command.")
    ] = False,
) -> None:
    """From DFT results to the next, better ACE potential."""
    _shown.traceback = traceback


@contextmanager
def errors_become_exit_codes(as_json: bool = False) -> Iterator[None]:
    """End with the exit code of an error, after telling people, and a script that asked for JSON, what it is."""
    try:
        yield
    except MlipTrainError as error:
        _report(error, str(error), as_json)
        raise typer.Exit(error.exit_code) from error
    except (OSError, httpx.HTTPError) as error:
        what = f"{type(error).__name__}: {error}. What was done so far is kept; mend it and run the same again"
        _report(error, what, as_json)
        raise typer.Exit(1) from error


def _report(error: Exception, message: str, as_json: bool) -> None:
    if as_json:
        status = "rejected" if isinstance(error, RejectedPotentialError) else "failed"
        print_json({"status": status, "error": type(error).__name__, "message": message})
    if _shown.traceback:
        console.print_exception()
    console.print("[bold red]Error:[/] ", end="")
    say(message)


@contextmanager
def interruption_is_explained() -> Iterator[None]:
    """Say what becomes of a run that Ctrl-C ends."""
    try:
        yield
    except KeyboardInterrupt:
        say("Stopped. The same command goes on where the newest interim potential was kept.")
        raise


def say(message: str) -> None:
    """Print for people, as it is."""
    console.print(message, markup=False, highlight=False)


def print_json(content: Any) -> None:
    """Print for scripts."""
    typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
