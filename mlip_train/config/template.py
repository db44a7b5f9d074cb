"""The campaign.yaml that a new campaign begins with."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import yaml

from mlip_train.config.assessment import Gate, ShortMD
from mlip_train.config.campaign_config import CampaignConfig

__all__ = ["campaign_yaml"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_EXPLAINED: Final = {
    "preset": "   # quick | standard | accurate: fills what is not said below",
    "reference": "   # none | zbl | lj; core | delta: keeps atoms apart where there are no data",
}


def campaign_yaml(elements: Sequence[str], preset: str, sections: Mapping[str, Any] = _NOTHING) -> str:
    """A commented campaign.yaml: what was chosen, and the other values to uncomment and change.

    Raises
    ------
    ConfigError
        When an element or the preset is unknown, or a section is not valid.
    """
    # core hands over the whole energy of an atom, and how a compound shares it out is arbitrary
    reference = {"kind": "zbl", "mode": "core" if len(elements) == 1 else "delta"}
    chosen = {"elements": list(elements), "preset": preset, "reference": reference, **sections}
    config = CampaignConfig.parse(chosen, "the new campaign")
    chosen["elements"] = list(config.elements)
    said = "".join(f"{key}: {_flow(value)}{_EXPLAINED.get(key, '')}\n" for key, value in chosen.items())
    silent = "".join(f"# {key}: {value}\n" for key, value in _defaults(config).items() if key not in chosen)
    return f"""\
# What this campaign trains. Only `elements` is needed; `mlip-train schema` explains every key.
{said}
# The values that the preset fills in. Remove a # to set one yourself.
{silent}"""


def _defaults(config: CampaignConfig) -> dict[str, str]:
    """What is worth changing in each section, as YAML."""
    basis, fit, weights, checks = config.basis, config.fit, config.loss_weights, config.checks
    functions = basis.functions_per_element
    gate, nve = Gate(), ShortMD()
    start = f"{{first: {config.start.first}, next: {config.start.next}}}"
    energies = _flow(dict.fromkeys(config.elements, -1.5))
    return {
        "basis": f"{{cutoff: {basis.cutoff}, functions_per_element: {functions}}}   # cutoff in Å",
        "loss_weights": f"{{energy: {weights.energy}, force: {weights.force}, stress: {weights.stress}}}",
        "weights": "{config_type: {}}   # {Surface: 3.0}: counts three times; 0 leaves out",
        "fit": f"{{max_epochs: {fit.max_epochs}, optimizer: {fit.optimizer}, batch_size: {fit.batch_size}}}",
        "start": f"{start}   # linear | zeros; previous | linear | zeros",
        "active_set": f"{{method: {config.active_set.method}}}   # maxvol: learn from a part",
        "reference_energies": f"least_squares   # or isolated_atoms, or eV per element: {energies}",
        "test": f"{{fraction: {config.test.fraction}, stratify_by: config_type}}",
        "checks": f"{{min_distance: {checks.min_distance}, max_force: {checks.max_force}}}   # Å, eV/Å",
        "physics": f"{{nve: {{temperature: {nve.temperature}, steps: {nve.steps}}}}}   # K",
        "gate": f"{{max_regression: {gate.max_regression:.0%}, on: {_flow(list(gate.on))}, "
        f"require: {_flow(list(gate.require))}}}",
        "committee": f"{{members: {config.committee.members}}}   # 5: standard deviations beside gamma",
        "engine": f"{{command: [pacemaker], max_hours: {config.engine.max_hours}}}",
    }


def _flow(value: object) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").strip()
    )
