from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from mlip_train.records.checks import Check


def test_a_check_of_an_earlier_version_still_loads() -> None:
    now = Check(name="nve", passed=False, finding="it drifts", numbers={"drift": 3.0}, notes=("a note",))
    content = json.loads(now.model_dump_json())
    content["told"] = content.pop("finding")
    assert Check.model_validate_json(json.dumps(content)) == now
    assert "told" not in json.loads(now.model_dump_json())


def test_a_check_finds_one_thing() -> None:
    with pytest.raises(ValidationError):
        Check.model_validate({"name": "nve", "passed": True})
    with pytest.raises(ValidationError, match="unknown key 'found'"):
        Check.model_validate({"name": "nve", "passed": True, "told": "so", "found": "so"})


@pytest.mark.parametrize(("passed", "word"), [(True, "passed"), (False, "failed"), (None, "not checked")])
def test_the_outcome_of_a_check_is_a_word(passed: bool | None, word: str) -> None:
    assert Check(name="nve", passed=passed, finding="so").word == word
