from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mlip_train.base.strict_yaml import load_yaml
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.pacemaker.input_yaml import basis_section, render_input, write_input

TRAIN, TEST, START = Path("/run/train.pckl.gzip"), Path("/run/test.pckl.gzip"), Path("/run/start_potential.yaml")


def parse(**values: Any) -> CampaignConfig:
    return CampaignConfig.parse({"elements": ["Si"], **values}, "campaign.yaml")


def render(
    config: CampaignConfig, *, test: Path | None = TEST, start: Path | None = None, climb: bool = False
) -> dict[str, Any]:
    return render_input(config, {"Si": -1.5}, TRAIN, test, start, 25, climb_from_start=climb)


def read_by_yaml_1_1(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def read_by_the_engine(path: Path) -> Any:
    return ruamel.yaml.YAML(typ="safe", pure=True).load(path.read_text())


READERS = pytest.mark.parametrize("read", [read_by_yaml_1_1, read_by_the_engine])


def types(value: Any) -> Any:
    match value:
        case dict():
            return {key: types(entry) for key, entry in value.items()}
        case list():
            return [types(entry) for entry in value]
        case _:
            return type(value)


@pytest.mark.parametrize("start", [None, START])
@pytest.mark.parametrize("preset", ["quick", "standard", "accurate"])
def test_what_the_engine_gets_wrong_by_default_is_always_said(preset: str, start: Path | None) -> None:
    config = parse(preset=preset)
    native = render(config, start=start)
    assert native["backend"]["evaluator"] == "tensorpot"
    assert native["fit"]["loss"]["kappa"] == config.loss_weights.kappa > 0
    assert native["data"]["reference_energy"] == {"Si": -1.5}
    assert basis_section(config)["bonds"]["ALL"]["dcut"] == 0.01


def test_every_field_of_the_basis_and_the_fit_reaches_the_engine() -> None:
    config = parse(
        elements=["Ni", "Al"],
        basis={
            "cutoff": 6.5,
            "functions_per_element": 17,
            "embedding": "linear",
            "radial_basis": "ChebPow",
            "radial_parameters": [2.5],
            "nradmax_by_orders": [4, 2],
            "lmax_by_orders": [0, 1],
        },
        fit={"seed": 7, "optimizer": "L-BFGS-B", "batch_size": 3, "l2_regularization": 1e-8},
        loss_weights={"energy": 1.0, "force": 3.0},
    )
    energies = {"Al": -1.0, "Ni": -2.0}
    assert render_input(config, energies, TRAIN, TEST, None, 25) == {
        "seed": 7,
        "potential": {
            "deltaSplineBins": 0.001,
            "elements": ["Al", "Ni"],
            "embeddings": {
                "ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1},
            },
            "bonds": {
                "ALL": {
                    "radbase": "ChebPow",
                    "radparameters": [2.5],
                    "rcut": 6.5,
                    "dcut": 0.01,
                    "NameOfCutoffFunction": "cos",
                },
            },
            "functions": {
                "number_of_functions_per_element": 17,
                "ALL": {"nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1]},
            },
        },
        "data": {"filename": str(TRAIN), "test_filename": str(TEST), "reference_energy": energies},
        "fit": {
            "loss": {"kappa": 0.75, "L2_coeffs": 1e-8},
            "optimizer": "L-BFGS-B",
            "maxiter": 25,
            "callbacks": ["mlip_train.pacemaker.callbacks.tell_devices"],
        },
        "backend": {"evaluator": "tensorpot", "batch_size": 3, "display_step": 5},
    }


def test_finnis_sinclair_has_two_densities() -> None:
    embedding = basis_section(parse(basis={"embedding": "finnis_sinclair"}))["embeddings"]["ALL"]
    assert (embedding["fs_parameters"], embedding["ndensity"]) == ([1, 1, 1, 0.5], 2)


def test_no_test_file_is_named_when_the_test_set_is_empty() -> None:
    assert "test_filename" not in render(parse(), test=None)["data"]


@pytest.mark.parametrize(
    ("start", "climb", "has_ladder"),
    [(None, False, True), (START, True, True), (START, False, False)],
    ids=["from zeros", "climbing on", "continuing"],
)
def test_a_ladder_is_climbed_only_from_zeros_or_from_a_smaller_basis(
    start: Path | None, climb: bool, has_ladder: bool
) -> None:
    config = parse(basis={"ladder_step": 10, "ladder_type": "power_order"})
    fit = render(config, start=start, climb=climb)["fit"]
    assert (fit.get("ladder_step"), fit.get("ladder_type")) == (
        (10, "power_order") if has_ladder else (None, None)
    )


def test_without_a_ladder_step_there_is_no_ladder() -> None:
    assert not {"ladder_step", "ladder_type"} & set(render(parse())["fit"])


def test_continuing_names_the_potential_by_its_plain_path() -> None:
    config = parse(extra={"potential": {"deltaSplineBins": 0.01}})
    assert render(config, start=START)["potential"] == str(START)


def test_climbing_on_names_the_wanted_basis_and_where_it_begins() -> None:
    config = parse(basis={"ladder_step": 10})
    wanted = {**basis_section(config), "initial_potential": str(START)}
    assert render(config, start=START, climb=True)["potential"] == wanted


def test_from_zeros_the_basis_is_given() -> None:
    assert render(parse())["potential"] == basis_section(parse())


def test_early_stopping_is_translated() -> None:
    fit = render(parse(fit={"early_stopping": {"min_relative_change": 1e-3, "patience": 12}}))["fit"]
    assert fit["min_relative_train_loss_per_iter"] == 1e-3
    assert fit["early_stopping_patience"] == 12


def test_a_plain_fit_neither_stops_early_nor_weighs_structures() -> None:
    plain = {"min_relative_train_loss_per_iter", "early_stopping_patience", "weighting"}
    assert not plain & set(render(parse())["fit"])


def test_energy_based_weighting_is_translated() -> None:
    weighting = {
        "kind": "energy_based",
        "energy_zero": "cohesive",
        "low_window": 2.0,
        "upper_limit": 20.0,
        "low_share": 0.6,
        "energy_offset": 3.0,
        "force_offset": 4.0,
    }
    assert render(parse(fit={"weighting": weighting, "seed": 9}))["fit"]["weighting"] == {
        "type": "EnergyBasedWeightingPolicy",
        "energy": "cohesive",
        "DElow": 2.0,
        "DEup": 20.0,
        "wlow": 0.6,
        "DE": 3.0,
        "DF": 4.0,
        "reftype": "all",
        "seed": 9,
    }


@READERS
@given(number=st.floats(allow_nan=False, allow_infinity=False))
@example(number=1e-8)
@example(number=1e22)
@example(number=-1e16)
@example(number=5e-324)
@example(number=-0.0)
@example(number=1.7976931348623157e308)
def test_every_number_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, read: Any, number: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "input.yaml"
    config = parse(elements=["No", "Y"], fit={"l2_regularization": abs(number)})
    native = render_input(config, {"No": number, "Y": 1.0}, TRAIN, TEST, None, 25)
    write_input(path, native)
    assert read(path) == native
    assert types(read(path)) == types(native)


@READERS
@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "it's",
        'say "hi"',
        "a: b",
        "a #b",
        "{x}",
        "%x",
        "- x",
        "ünïcode ☃",
        "a\nb",
        "tab\t",
        " " * 3,
        "x " * 90,
    ],
)
def test_every_path_is_read_back_the_same(tmp_path: Path, read: Any, name: str) -> None:
    native = render_input(parse(), {"Si": 0.0}, Path("/data") / name, None, Path("/start") / name, 1)
    write_input(tmp_path / "input.yaml", native)
    assert read(tmp_path / "input.yaml") == native


def test_a_number_written_without_a_point_in_extra_reaches_the_engine_as_a_number(tmp_path: Path) -> None:
    text = "{elements: [Si], extra: {fit: {options: {gtol: 1e-8}, loss: {L1_coeffs: 5e-9}}}}"
    config = CampaignConfig.parse(load_yaml(text, "campaign.yaml"), "campaign.yaml")
    write_input(tmp_path / "input.yaml", render(config))
    fit = read_by_the_engine(tmp_path / "input.yaml")["fit"]
    assert (fit["options"]["gtol"], fit["loss"]["L1_coeffs"]) == (1e-8, 5e-9)


def test_rendering_leaves_the_configuration_alone() -> None:
    config = parse(extra={"fit": {"options": {"gtol": 1e-9}}, "potential": {"bonds": {"SiSi": {"rcut": 4.0}}}})
    before = config.model_dump()
    assert render(config) == render(config)
    assert config.model_dump() == before


@pytest.mark.parametrize(
    ("gpu", "told"),
    [
        (None, None),
        ({}, {"gpu_ind": 0, "mem_limit": 0}),
        ({"index": 3, "memory": 8000}, {"gpu_ind": 0, "mem_limit": 8000}),
    ],
)
def test_the_engine_is_told_of_the_gpu(gpu: dict | None, told: dict | None) -> None:
    config = CampaignConfig.parse({"elements": ["Si"], "engine": {"gpu": gpu}}, "campaign.yaml")
    native = render_input(config, {"Si": 0.0}, Path("train"), None, None, 5)
    assert native["backend"].get("gpu_config") == told
