from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from mlip_train.base.frozen import Frozen
from mlip_train.errors import CorruptFileError


class Recipe(Frozen):
    file_is: ClassVar[str] = "a recipe"
    remedy: ClassVar[str] = "ask the cook"

    name: str
    eggs: int = 2


class Plain(Frozen):
    eggs: int = 2


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    recipe = Recipe(name="Kaiserschmarrn ☃", eggs=4)
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == Recipe.load_if_known(tmp_path / "recipe.json") == recipe
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    assert (tmp_path / "recipe.json").read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "Pie", "eggs": "many"}', "eggs: Input should be a valid integer"),
        ('{"name": "Pie", "egg": 1}', "unknown key 'egg'; did you mean 'eggs'?"),
        ("{}", "name: Field required"),
        ('{"name": "Pie", "eg', "Invalid JSON"),
        ("", "Invalid JSON"),
        ("\xff", "Invalid JSON"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_what_to_do(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptFileError) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path} is not a recipe ({reason}")
    assert str(caught.value).endswith("); ask the cook")
    assert "\n" not in str(caught.value)
    assert Recipe.load_if_known(path) is None


def test_without_words_of_its_own_a_file_is_to_be_restored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorruptFileError, match=r"is not readable \(.*\); restore it from a backup$"):
        Plain.load(tmp_path / "file")


def test_a_file_that_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert Recipe.load_if_known(tmp_path / "recipe.json") is None
    with pytest.raises(FileNotFoundError):
        Recipe.load(tmp_path / "recipe.json")


def test_saving_replaces_a_file_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.json"
    Recipe(name="Pie").save(path)

    def crash(self: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="No space"):
        Recipe(name="Cake").save(path)
    assert Recipe.load(path).name == "Pie"


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(name="Pie").eggs = 3  # type: ignore[misc]


def test_what_was_given_is_not_in_the_error() -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"name": ["secret"]})
    assert "secret" not in str(caught.value)
