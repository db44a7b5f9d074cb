"""docs/operations.md names, for every block of commands, the test that covers it, or says that there is none."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "operations.md").read_text()


def test_every_block_says_whether_it_was_run() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == GUIDE.count("```sh")
    for block in blocks:
        first = block.splitlines()[0]
        assert first.startswith("# ")
        assert "not run here" in first or "tests/" in first, block


def test_what_it_names_is_there() -> None:
    named = re.findall(r"(?:tests|deployments|docs)/[\w./-]*\w", GUIDE)
    assert len(named) > 8
    assert {path for path in named if not (REPOSITORY / path).exists()} <= {"deployments/docker/.env"}
