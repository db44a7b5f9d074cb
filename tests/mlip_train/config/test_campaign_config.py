from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mlip_train.base.frozen import Frozen
from mlip_train.config import assessment, basis, campaign_config, engine, fit, reference
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError
from tests.mlip_train.config.parsing import parse, refusal

ENERGY_BASED = {"kind": "energy_based"}
ZBL = {"kind": "zbl"}
ARGON = {"epsilon": 0.0104, "sigma": 3.4}
PARAMETERS = [
    ("LJParameters", "epsilon"), ("LJParameters", "sigma"), ("SwitchRadii", "inner"), ("SwitchRadii", "outer"),
]  # fmt: skip
LENNARD_JONES = {"kind": "lj", "cutoff": 8.0, "pairs": {"Ar-Ar": ARGON}}


def nested(key: str, value: Any) -> dict[str, Any]:
    *above, last = key.split(".")
    values = {last: value}
    for name in reversed(above):
        values = {name: values}
    return values


def look_up(config: BaseModel, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("values", "where", "unknown", "nearest"),
    [
        ({"basi": {}}, "", "basi", "basis"),
        ({"basis": {"cutof": 5}}, "basis", "cutof", "cutoff"),
        ({"reference": {**ZBL, "pair": 1}}, "reference", "pair", "pairs"),
        ({"reference": {**LENNARD_JONES, "cut": 1}}, "reference", "cut", "cutoff"),
        (
            {"reference": {**LENNARD_JONES, "pairs": {"Ar-Ar": {**ARGON, "epsilom": 1}}}},
            "reference",
            "epsilom",
            "epsilon",
        ),
        ({"reference": {"kind": "none", "kin": 1}}, "reference", "kin", "kind"),
        ({"loss_weights": {"forces": 1}}, "loss_weights", "forces", "force"),
        ({"fit": {"max_epoch": 1}}, "fit", "max_epoch", "max_epochs"),
        ({"fit": {"early_stopping": {"patient": 9}}}, "fit.early_stopping", "patient", "patience"),
        ({"fit": {"weighting": {"kind": "uniform", "kid": 1}}}, "fit.weighting", "kid", "kind"),
        ({"fit": {"weighting": {**ENERGY_BASED, "low_windw": 1}}}, "fit.weighting", "low_windw", "low_window"),
        ({"test": {"stratify": None}}, "test", "stratify", "stratify_by"),
        ({"checks": {"max_forces": 9}}, "checks", "max_forces", "max_force"),
        ({"engine": {"commands": ["x"]}}, "engine", "commands", "command"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_one_named(
    values: dict[str, Any], where: str, unknown: str, nearest: str
) -> None:
    message = refusal(**values)
    assert f"unknown key {unknown!r}; did you mean {nearest!r}?" in message
    assert f"\n  {where}" in message


def test_an_unknown_key_like_no_other_gets_the_list_of_known_ones() -> None:
    assert "unknown key 'wwwww'; known keys: fraction, stratify_by" in refusal(test={"wwwww": 1})


@pytest.mark.parametrize(
    ("key", "refused", "accepted"),
    [
        ("basis.cutoff", 1.99, 2.0),
        ("basis.cutoff", 15.01, 15.0),
        ("basis.functions_per_element", 0, 1),
        ("basis.embedding", "quadratic", "linear"),
        ("basis.radial_basis", "ChebLinear", "ChebPow"),
        ("basis.radial_parameters", (), (1.0,)),
        ("basis.nradmax_by_orders", (0, 6, 4, 3, 2, 1), (1, 1, 1, 1, 1, 1)),
        ("basis.lmax_by_orders", (0, -1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)),
        ("basis.ladder_step", 0, 1),
        ("basis.ladder_type", "random_order", "power_order"),
        ("loss_weights.energy", -0.01, 0.0),
        ("loss_weights.force", -0.01, 0.0),
        ("loss_weights.stress", -0.01, 0.0),
        ("fit.max_epochs", -1, 0),
        ("fit.max_hours", 0.0, 0.01),
        ("start.first", "previous", "linear"),
        ("start.next", "parent", "linear"),
        ("active_set.method", "random", "maxvol"),
        ("active_set.gamma_tolerance", 0.99, 1.0),
        ("active_set.replay", 0.0, 0.5),
        ("active_set.replay", "some", "active_set"),
        ("fit.optimizer", "Adam", "L-BFGS-B"),
        ("fit.batch_size", 0, 1),
        ("fit.early_stopping.min_relative_change", 0.0, 1e-12),
        ("fit.early_stopping.min_relative_change", 1.0, 0.99),
        ("fit.early_stopping.patience", 1, 2),
        ("fit.l2_regularization", -1e-9, 0.0),
        ("fit.seed", -1, 0),
        ("fit.seed", 2**32, 2**32 - 1),
        ("test.fraction", -0.01, 0.0),
        ("test.fraction", 0.51, 0.5),
        ("test.stratify_by", "generation", None),
        ("checks.min_distance", 0.09, 0.1),
        ("checks.max_force", 0.0, 0.01),
        ("engine.command", (), ("srun", "pacemaker")),
        ("engine.command", ("",), ("x",)),
        ("engine.placement", "cluster", "here"),
        ("engine.max_hours", 0.0, 0.01),
        ("preset", "fast", "quick"),
    ],
)
def test_each_bound_is_kept(key: str, refused: Any, accepted: Any) -> None:
    assert key in refusal(**nested(key, refused))
    assert look_up(parse(**nested(key, accepted)), key) == accepted


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "key", ["basis.cutoff", "loss_weights.force", "checks.max_force", "engine.max_hours", "fit.l2_regularization"]
)
def test_a_number_must_be_finite(key: str, wrong: float) -> None:
    assert key in refusal(**nested(key, wrong))


def test_numbers_inside_lists_and_mappings_must_be_finite() -> None:
    assert "finite" in refusal(basis={"radial_parameters": [float("nan")]})
    assert "finite" in refusal(reference_energies={"Si": float("nan")})


@pytest.mark.parametrize("number", ["1e-8", "1.0e-8"])
def test_a_number_that_yaml_took_for_text_is_understood(number: str) -> None:
    assert parse(fit={"l2_regularization": number}).fit.l2_regularization == 1e-8


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "preset", "quick"),
        ("basis", "cutoff", 6.0),
        ("reference", "kind", "zbl"),
        ("loss_weights", "force", 1.0),
        ("fit", "seed", 1),
        ("fit.weighting", "kind", "energy_based"),
        ("test", "fraction", 0.2),
        ("checks", "max_force", 1.0),
        ("engine", "max_hours", 1.0),
    ],
)
def test_a_configuration_cannot_be_changed(section: str, key: str, value: Any) -> None:
    config = parse()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(look_up(config, section) if section else config, key, value)


def test_elements_are_needed() -> None:
    with pytest.raises(ConfigError, match="elements: Field required"):
        CampaignConfig.parse({}, "campaign.yaml")
    assert "elements" in refusal(elements=[])


def test_an_element_may_be_named_only_once() -> None:
    assert "an element is named twice in ['Ni', 'Al', 'Ni']" in refusal(elements=["Ni", "Al", "Ni"])


@pytest.mark.parametrize("symbol", ["Sii", "si", "X", "", "14"])
def test_an_element_is_a_chemical_symbol(symbol: str) -> None:
    assert f"elements.0: {symbol!r} is not a chemical element" in refusal(elements=[symbol])


def test_the_order_of_elements_does_not_matter() -> None:
    assert parse(elements=["Ni", "Al"]) == parse(elements=["Al", "Ni"])
    assert parse(elements=["Ni", "Al"]).elements == ("Al", "Ni")


@pytest.mark.parametrize(
    ("energies", "problem"),
    [
        ({"Al": -1.0}, "missing ['Ni']"),
        ({}, "missing ['Al', 'Ni']"),
        ({"Al": -1.0, "Ni": -2.0, "Cu": -3.0}, "not in elements: ['Cu']"),
    ],
)
def test_explicit_reference_energies_name_each_element_once(energies: dict[str, float], problem: str) -> None:
    assert problem in refusal(elements=["Al", "Ni"], reference_energies=energies)


def test_explicit_reference_energies_are_kept() -> None:
    energies = {"Al": -1.0, "Ni": -2.0}
    assert parse(elements=["Al", "Ni"], reference_energies=energies).reference_energies == energies


@pytest.mark.parametrize("wrong", ["guess", {"Xx": -1.0}, {"Si": "low"}])
def test_other_reference_energies_are_refused(wrong: Any) -> None:
    assert "\n  reference_energies" in refusal(reference_energies=wrong)


@pytest.mark.parametrize(
    "section",
    [
        {"fit": {"max_epochs": True}},
        {"loss_weights": {"energy": False}},
        {"active_set": {"method": "maxvol", "max_structures": True}},
    ],
)
def test_a_yes_is_not_a_number(section: dict[str, object]) -> None:
    assert "must be a number" in refusal(**section)


@pytest.mark.parametrize("start", [{"first": "zeros"}, {"next": "zeros"}])
def test_a_fit_of_no_epochs_cannot_start_from_zeros(start: dict[str, str]) -> None:
    assert "fit.max_epochs: 0 trains nothing from zeros" in refusal(fit={"max_epochs": 0}, start=start)


def test_no_bond_is_longer_than_the_cutoff() -> None:
    longer = {"potential": {"bonds": {"Si": {"rcut": 7.0}}}}
    assert "extra.potential.bonds.Si.rcut is larger than basis.cutoff" in refusal(extra=longer)
    shorter = {"potential": {"bonds": {"Si": {"rcut": 4.0}}}}
    assert CampaignConfig.parse({"elements": ["Si"], "extra": shorter}, "test").extra == shorter


def test_what_the_service_sets_for_all_blocks_it_sets_for_each() -> None:
    assert "is set by the service" in refusal(extra={"potential": {"bonds": {"Si": {"dcut": 0.5}}}})


def test_native_keys_are_checked() -> None:
    assert "extra.fit.maxiter" in refusal(extra={"fit": {"maxiter": 3}})


def test_what_is_in_extra_can_be_recorded_as_json() -> None:
    assert "extra" in refusal(extra={"metadata": {"begun": date(2025, 1, 31)}})


def test_a_message_has_the_origin_and_one_line_per_problem() -> None:
    message = refusal(basis={"cutoff": 99, "functions_per_element": "many"}, fit={"seed": -1}, preset="quick")
    first, *problems = message.splitlines()
    assert first == "some/campaign.yaml is not a valid campaign configuration:"
    assert [line.partition(": ")[0] for line in problems] == [
        "  basis.cutoff",
        "  basis.functions_per_element",
        "  fit.seed",
    ]
    assert problems[0].endswith("(got 99)")


def test_one_wrong_element_is_one_problem() -> None:
    assert len(refusal(elements=["Sii"]).splitlines()) == 2


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"reference": {**ZBL, "pairs": {"Si-Si": {"inner": -1, "outer": 1}}}}, "reference.pairs.Si-Si.inner"),
        ({"fit": {"weighting": {**ENERGY_BASED, "low_share": 2}}}, "fit.weighting.low_share"),
        ({"reference_energies": {"Si": "low"}}, "reference_energies.Si"),
        ({"engine": {"command": [""]}}, "engine.command.0"),
    ],
)
def test_a_problem_is_found_under_the_keys_that_the_file_has(values: dict[str, Any], key: str) -> None:
    assert f"\n  {key}: " in refusal(**values)


@pytest.mark.parametrize("values", [None, [], "Si", 3])
def test_something_that_is_no_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"campaign\.yaml is not a valid"):
        CampaignConfig.parse(values, "campaign.yaml")


@pytest.mark.parametrize(
    "values", [{"preset": ["quick"]}, {"preset": {"quick": 1}}, {"basis": None}, {"fit": [1]}]
)
def test_a_value_of_the_wrong_shape_is_refused(values: dict[str, Any]) -> None:
    assert f"\n  {next(iter(values))}: " in refusal(**values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"elements": ["Ni", "Al"], "reference_energies": {"Ni": -1.0, "Al": -2.0}},
        {"preset": "accurate", "fit": {"weighting": ENERGY_BASED, "early_stopping": {}}},
        {"elements": ["Ar"], "reference": LENNARD_JONES, "extra": {"fit": {"fit_cycles": 2}}},
    ],
)
def test_a_resolved_configuration_says_the_same_again(values: dict[str, Any]) -> None:
    config = parse(**values)
    assert CampaignConfig.parse(json.loads(config.model_dump_json()), "config.json") == config


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    models = {schema["title"]: schema, **schema["$defs"]}
    for model, content in models.items():
        for name, field in content.get("properties", {}).items():
            yield model, name, field


@pytest.mark.parametrize(
    "model",
    [
        entry
        for module in (assessment, basis, campaign_config, engine, fit, reference)
        for entry in vars(module).values()
        if isinstance(entry, type) and issubclass(entry, Frozen) and entry.__module__ == module.__name__
    ],
)
def test_every_field_says_what_it_means(model: type[Frozen]) -> None:
    assert [n for n, field in model.model_fields.items() if n != "kind" and not field.description] == []


def test_every_field_is_described_in_the_schema() -> None:
    schema = CampaignConfig.model_json_schema()
    silent = set()
    for model, name, field in properties(schema):
        # pydantic leaves out a description that is word for word that of the model referred to
        referred = schema["$defs"].get(field.get("$ref", "").removeprefix("#/$defs/"), {})
        if name != "kind" and not (field.get("description") or referred.get("description")):
            silent.add(f"{model}.{name}")
    assert silent == set()


def test_every_model_is_described_in_the_schema() -> None:
    schema = CampaignConfig.model_json_schema()
    models = {name: model for name, model in schema["$defs"].items() if "properties" in model}
    assert [name for name, model in models.items() if not model.get("description")] == []


def test_the_schema_shows_every_default() -> None:
    without = {
        f"{model}.{name}"
        for model, name, field in properties(CampaignConfig.model_json_schema())
        if "default" not in field
    }
    needed = {"CampaignConfig.elements", "LennardJones.cutoff", "LennardJones.pairs"}
    assert without - {f"{model}.{name}" for model, name in PARAMETERS} == needed


def test_the_defaults_in_the_schema_are_those_that_apply() -> None:
    resolved = parse().model_dump(mode="json")
    for name, field in CampaignConfig.model_json_schema()["properties"].items():
        if name != "elements":
            assert field["default"] == resolved[name], name


def test_the_schema_can_be_written_as_json() -> None:
    schema = CampaignConfig.model_json_schema()
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
