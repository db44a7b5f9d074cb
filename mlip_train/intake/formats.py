"""The format of a file, recognised by its name and its content."""

import gzip
import lzma
import re
import zlib
from pathlib import Path
from typing import IO, cast

from ase.io.formats import (
    PEEK_BYTES,
    UnknownFileTypeError,
    filetype,
    get_compression,
    ioformats,
    open_with_compression,
)

__all__ = ["PICKLE_SUFFIXES", "RESULT_FORMATS", "UNREADABLE", "format_of", "is_pickle", "open_plain"]

# What a folder is searched for; a file that is named on the command line may be of any format.
RESULT_FORMATS = frozenset(
    {
        "abinit-out", "aims-output", "castep-castep", "cp2k-output", "db", "espresso-out", "extxyz",
        "gaussian-out", "gpaw-out", "json", "nwchem-out", "octopus-in", "orca-output", "traj",
        "vasp-out", "vasp-xml",
    }
)  # fmt: skip

_DATABASE_ROW = re.compile(rb'\s*\{\s*"\d+"\s*:\s*\{')  # how ASE's JSON databases begin

PICKLE_SUFFIXES = (".pkl", ".pckl", ".pickle", ".pkl.gz", ".pckl.gz", ".pkl.gzip", ".pckl.gzip")

UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # bytes that are not what they seem


def format_of(path: Path) -> str | None:
    """The ASE format of a file by its name or its content; an ending such as .log says nothing."""
    try:
        kind = ioformats[filetype(str(path))]
        with open_plain(path) as stream:
            head = stream.read(PEEK_BYTES)
    except (*UNREADABLE, UnknownFileTypeError, KeyError):
        return None
    name, _ = get_compression(path.name)
    if kind.name == "json":
        return kind.name if _DATABASE_ROW.match(head) else None
    is_certain = kind.match_name(name) or not kind.magic or kind.match_magic(head)
    return str(kind.name) if is_certain else None


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, by its name or its first bytes; such a file is never loaded."""
    if path.name.endswith(PICKLE_SUFFIXES):
        return True
    try:
        with open_plain(path) as stream:
            head = stream.read(2)
    except UNREADABLE:
        return False
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5  # pickle protocols 2 to 5


def open_plain(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed where its name says that it is compressed."""
    if path.name.endswith(".gzip"):
        return cast("IO[bytes]", gzip.open(path))
    return cast("IO[bytes]", open_with_compression(str(path), "rb"))
