from __future__ import annotations

import pytest

from mlip_train.base.strict_yaml import load_yaml
from mlip_train.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3\n", "basis: {cutoff: 5, cutoff: 6}", "x: [{k: 1, k: 1}]", "{1: a, 1: b}"]
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)^some\.yaml is not readable YAML: .*stands twice.*line \d"):
        load_yaml(text, "some.yaml")


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\ta: 1", "a: \x00", "? [a]: 1", "a: !!python/name:os.system"]
)
def test_broken_yaml_is_refused_and_the_file_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^some\.yaml is not readable YAML: "):
        load_yaml(text, "some.yaml")


def test_an_impossible_date_is_refused_and_the_file_named() -> None:
    with pytest.raises(ConfigError, match=r"^some\.yaml is not readable YAML: "):
        load_yaml("a: 2024-13-45", "some.yaml")


def test_keys_that_yaml_takes_for_truth_values_are_words() -> None:
    assert load_yaml("gate: {on: [force_rmse]}\nenergies: {No: -1.0, true: 2}\nyes: no", "some.yaml") == {
        "gate": {"on": ["force_rmse"]},
        "energies": {"No": -1.0, "true": 2},
        "yes": False,
    }


def test_one_key_in_two_mappings_is_fine() -> None:
    assert load_yaml("a: {k: 1}\nb: {k: 2}\n", "some.yaml") == {"a": {"k": 1}, "b": {"k": 2}}


def test_a_mapping_may_be_merged_into_another() -> None:
    text = "a: &a {k: 1, l: 2}\nb: {<<: *a, k: 3}\n"
    assert load_yaml(text, "some.yaml") == {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}
