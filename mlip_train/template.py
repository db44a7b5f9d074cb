"""The campaign.yaml that a new campaign begins with."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from mlip_train.config import CampaignConfig

__all__ = ["campaign_yaml"]


def campaign_yaml(elements: Sequence[str], preset: str) -> str:
    """A commented campaign.yaml: what was chosen, and the preset's values to uncomment and change.

    Raises
    ------
    ConfigError
        When an element or the preset is unknown.
    """
    # core hands over the whole energy of an atom, and how a compound shares it out is arbitrary
    mode = "core" if len(elements) == 1 else "delta"
    chosen = {"elements": list(elements), "preset": preset, "reference": {"kind": "zbl", "mode": mode}}
    config = CampaignConfig.parse(chosen, "the new campaign")
    basis, fit, weights = config.basis, config.fit, config.loss_weights
    return f"""\
# What this campaign trains. Only `elements` is needed; `mlip-train schema` explains every key.
elements: {_flow(list(config.elements))}
preset: {preset}   # quick | standard | accurate: fills what is not said below
reference: {{kind: zbl, mode: {mode}}}   # none | zbl | lj; core | delta: keeps atoms apart where there are no data

# The values that the preset fills in. Remove a # to set one yourself.
# basis: {{cutoff: {basis.cutoff}, functions_per_element: {basis.functions_per_element}}}   # cutoff in Å
# loss_weights: {{energy: {weights.energy}, force: {weights.force}, stress: 0}}
# fit: {{max_epochs: {fit.max_epochs}, optimizer: {fit.optimizer}, batch_size: {fit.batch_size}}}
# start: {{first: {config.start.first}, next: {config.start.next}}}   # linear | zeros; previous | linear | zeros
# active_set: {{method: {config.active_set.method}, max_structures: null}}   # maxvol: learn from a part
# reference_energies: least_squares   # or isolated_atoms, or eV per element: {_example(config.elements)}
# test: {{fraction: {config.test.fraction}, stratify_by: config_type}}
# checks: {{min_distance: {config.checks.min_distance}, max_force: {config.checks.max_force}}}   # Å, eV/Å
# engine: {{command: [pacemaker], max_hours: {config.engine.max_hours}}}
"""


def _flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()


def _example(elements: Sequence[str]) -> str:
    return _flow(dict.fromkeys(elements, -1.5))
