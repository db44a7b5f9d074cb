"""The pages of the documentation hang together: links and anchors resolve, and every page can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
PAGES = [README, REPOSITORY / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINES_OF_THE_README = 150
# What readers are told to make.
NOT_THERE = {"deployments/docker/.env", "mlip_train/assess/slope.py", "tests/mlip_train/assess/test_slope.py"}


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Files or folders of this repository that a page links to, each with the anchor in it (or nothing)."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_and_every_anchor_is_there(page: Path) -> None:
    for path, anchor in links(page):
        assert path.is_relative_to(REPOSITORY), path
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), f"{path}#{anchor}"


def test_every_page_can_be_reached_from_the_index() -> None:
    index = DOCS / "README.md"
    seen, new = {index}, [index]
    while new:
        found = {path for path, _ in links(new.pop()) if path.suffix == ".md"}
        new += found - seen
        seen |= found
    assert seen >= set(PAGES)
    assert {path for page in seen for path, _ in links(page) if path.suffix == ".png"} == set(DOCS.rglob("*.png"))


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LINES_OF_THE_README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    folders = "tests|deployments|flows|tasks|mlip_train|benchmarks|examples"
    named = re.findall(rf"(?<![\w/.*-])(?:{folders})/[\w./-]*\w", page.read_text())
    assert {path for path in named if not (REPOSITORY / path).exists()} <= NOT_THERE
