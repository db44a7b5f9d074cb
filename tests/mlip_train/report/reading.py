"""What a page says, and what it would load."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["Page"]

_VOID = frozenset({"meta", "wbr", "br", "link", "img", "input", "hr"})
_NOT_TEXT = frozenset({"svg", "style", "script", "pre", "code", "title"})


class Page(HTMLParser):
    """A parsed page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.snippets: list[str] = []
        self.codes: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(self.source)

    @property
    def text(self) -> str:
        """Outside of pictures, snippets and code, with single spaces."""
        return " ".join("".join(self._text).split())

    @property
    def loaded(self) -> list[str]:
        """Addresses that a browser fetches by itself."""
        named = [
            value
            for tag, name, value in self.attributes
            if name in ("src", "srcset", "data", "poster", "action", "xlink:href")
            or (name == "href" and tag != "a")
        ]
        return [*named, *re.findall(r"url\(['\"]?([^)'\"]+)", self.source), *re.findall("@import.*", self.source)]

    @property
    def ids(self) -> list[str]:
        return [value for _, name, value in self.attributes if name == "id"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self._open.append(tag)
        if tag in ("pre", "code"):
            (self.snippets if tag == "pre" else self.codes).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag not in ("code", "a", "span", "strong"):
            self._text.append("\n")

    def handle_data(self, data: str) -> None:
        if "pre" in self._open:
            self.snippets[-1] += data
        elif "code" in self._open:
            self.codes[-1] += data
        if not _NOT_TEXT & set(self._open):
            self._text.append(data)
