from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.config.native_keys import OWNED_KEYS, check_extra
from mlip_train.errors import ConfigError
from mlip_train.pacemaker.input_yaml import render_input

OWNED_BY_A_FIELD = {
    "seed": "fit.seed",
    "potential.elements": "elements",
    "potential.embeddings.ALL.npot": "basis.embedding",
    "potential.embeddings.ALL.fs_parameters": "basis.embedding",
    "potential.embeddings.ALL.ndensity": "basis.embedding",
    "potential.bonds.ALL.radbase": "basis.radial_basis",
    "potential.bonds.ALL.radparameters": "basis.radial_parameters",
    "potential.bonds.ALL.rcut": "basis.cutoff",
    "potential.bonds.ALL.r_in": "reference",
    "potential.bonds.ALL.delta_in": "reference",
    "potential.bonds.ALL.core-repulsion": "reference",
    "potential.bonds.ALL.inner_cutoff_type": "reference",
    "potential.functions.number_of_functions_per_element": "basis.functions_per_element",
    "potential.functions.ALL.nradmax_by_orders": "basis.nradmax_by_orders",
    "potential.functions.ALL.lmax_by_orders": "basis.lmax_by_orders",
    "data.test_size": "test.fraction",
    "data.reference_energy": "reference_energies",
    "fit.loss.kappa": "loss_weights",
    "fit.loss.L2_coeffs": "fit.l2_regularization",
    "fit.optimizer": "fit.optimizer",
    "fit.maxiter": "fit.max_epochs",
    "fit.ladder_step": "basis.ladder_step",
    "fit.ladder_type": "basis.ladder_type",
    "fit.weighting": "fit.weighting",
    "fit.repulsion": "reference",
    "fit.min_relative_train_loss_per_iter": "fit.early_stopping",
    "fit.min_relative_test_loss_per_iter": "fit.early_stopping",
    "fit.early_stopping_patience": "fit.early_stopping",
    "fit.callbacks": "fit.max_hours",
    "backend.batch_size": "fit.batch_size",
}
OWNED_BY_THE_SERVICE = [
    "potential.bonds.ALL.dcut",
    "potential.filename",
    "potential.initial_potential",
    "potential.reset",
    "data.filename",
    "data.test_filename",
    "data.datapath",
    "backend.evaluator",
]


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def refusal(extra: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        CampaignConfig.parse({"elements": ["Al", "Ni"], "extra": extra}, "campaign.yaml")
    return str(caught.value)


def rendered(extra: dict[str, Any]) -> dict[str, Any]:
    config = CampaignConfig.parse({"elements": ["Al", "Ni"], "extra": extra}, "campaign.yaml")
    return render_input(config, {"Al": -1.0, "Ni": -2.0}, Path("/train"), Path("/test"), None, 10)


def leaves(values: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*above, key))
    else:
        yield ".".join(above)


@pytest.mark.parametrize(("path", "owner"), OWNED_BY_A_FIELD.items())
def test_a_native_key_that_a_field_decides_is_refused_and_the_field_named(path: str, owner: str) -> None:
    assert f"extra.{path} contradicts a field; set {owner!r} instead" in refusal(nested(path, 1))


@pytest.mark.parametrize("path", OWNED_BY_THE_SERVICE)
def test_a_native_key_that_the_service_decides_is_refused(path: str) -> None:
    assert f"extra.{path} is set by the service and cannot be changed" in refusal(nested(path, 1))


def test_these_are_all_the_owned_keys() -> None:
    assert dict(OWNED_KEYS) == {**OWNED_BY_A_FIELD, **dict.fromkeys(OWNED_BY_THE_SERVICE, "-")}


@pytest.mark.parametrize("owner", sorted(set(OWNED_BY_A_FIELD.values())))
def test_the_field_to_set_instead_exists(owner: str) -> None:
    model: Any = CampaignConfig
    for name in owner.split("."):
        assert issubclass(model, BaseModel)
        model = model.model_fields[name].annotation


def test_nothing_that_the_service_writes_can_be_overwritten_by_accident() -> None:
    fit = {"early_stopping": {}, "weighting": {"kind": "energy_based"}}
    config = CampaignConfig.parse(
        {"elements": ["Al", "Ni"], "basis": {"ladder_step": 5}, "fit": fit}, "campaign.yaml"
    )
    written = render_input(config, {}, Path("/train"), Path("/test"), None, 10)
    written["fit"]["weighting"] = written["data"]["reference_energy"] = "decided as a whole"
    open_to_all = {"potential.deltaSplineBins", "potential.bonds.ALL.NameOfCutoffFunction", "backend.display_step"}
    assert set(leaves(written)) - set(OWNED_KEYS) == open_to_all


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("fti", "fit"),
        ("cutof", None),
        ("potential.element", "elements"),
        ("potential.embeddings.ALL.n_density", "ndensity"),
        ("potential.embeddings.Al.fs_parameter", "fs_parameters"),
        ("potential.bonds.AlNi.r_cut", "rcut"),
        ("potential.bonds.ALL.core_repulsion", "core-repulsion"),
        ("potential.functions.UNARY.nradmax_by_order", "nradmax_by_orders"),
        ("data.file_name", "filename"),
        ("fit.fit_cycle", "fit_cycles"),
        ("fit.loss.l1_coeffs", "L1_coeffs"),
        ("backend.displaystep", "display_step"),
    ],
)
def test_an_unknown_native_key_is_refused_and_the_nearest_one_named(path: str, nearest: str | None) -> None:
    message = refusal(nested(path, {}))
    assert f"extra.{path} is unknown to the engine" in message
    assert (f"did you mean {nearest!r}?" if nearest else "known keys: backend, data, fit,") in message


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("potential.functions.UNRAY.nradmax_by_orders", "UNARY"),
        ("potential.bonds.BINRAY.rcut", "BINARY"),
        ("potential.embeddings.ALLE.rho_core_cut", "ALL"),
        ("potential.functions.number_of_function_per_element", "number_of_functions_per_element"),
    ],
)
def test_an_unknown_block_is_refused_and_the_nearest_one_named(path: str, nearest: str) -> None:
    assert f"did you mean {nearest!r}?" in refusal(nested(path, [1]))


@pytest.mark.parametrize("path", ["fit", "fit.loss", "potential", "potential.bonds", "potential.bonds.AlNi"])
@pytest.mark.parametrize("value", [None, 3, "text", [1]])
def test_a_section_must_be_a_mapping(path: str, value: Any) -> None:
    assert f"extra.{path} must be a mapping, got {value!r}" in refusal(nested(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fit.fit_cycles", 2),
        ("fit.options", {"gtol": 1e-10, "anything": {"at": "all"}}),
        ("fit.loss.L1_coeffs", 1e-8),
        ("fit.trainable_parameters", {"Ni": "all", "AlNi": ["func"]}),
        ("backend.gpu_config", {"gpu_ind": 0, "mem_limit": 0}),
        ("backend.display_step", 1),
        ("metadata", {"author": "someone", "seed": 1}),
        ("data.aug_factor", 1e-3),
        ("potential.deltaSplineBins", 0.01),
        ("potential.bonds.AlNi.rcut", 4.0),
        ("potential.bonds.ALL.nradbase", 5),
        ("potential.embeddings.Al.rho_core_cut", 3.0),
        ("potential.functions.BINARY.lmax_by_orders", [0, 1]),
    ],
)
def test_an_allowed_native_key_reaches_the_engine_and_leaves_the_rest(path: str, value: Any) -> None:
    native = rendered(nested(path, value))
    found = native
    for key in path.split("."):
        found = found[key]
    assert found == value
    assert set(leaves(rendered({}))) <= set(leaves(native))


def test_one_owned_key_among_allowed_ones_is_refused() -> None:
    assert "extra.fit.maxiter" in refusal(
        {"fit": {"fit_cycles": 2, "maxiter": 10}, "backend": {"imagetype": "png"}}
    )


def test_nothing_extra_is_fine() -> None:
    check_extra({})
