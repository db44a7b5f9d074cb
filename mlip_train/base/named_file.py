"""Files with fixed names in a directory: each name is written down once, with what it is and who writes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, overload

__all__ = ["NamedFile"]


class _Directory(Protocol):
    @property
    def root(self) -> Path: ...


@dataclass(frozen=True)
class NamedFile:
    """A file or folder of a directory: of an instance it is the path, of its class this description."""

    name: str
    meaning: str
    writer: str  # the one module that writes it, within `mlip_train`, or `a person`, or `the engine`

    @overload
    def __get__(self, directory: None, owner: type) -> Self: ...
    @overload
    def __get__(self, directory: _Directory, owner: type) -> Path: ...
    def __get__(self, directory: _Directory | None, owner: type) -> Self | Path:
        return self if directory is None else directory.root / self.name
