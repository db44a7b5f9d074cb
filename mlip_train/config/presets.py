"""The three presets: what each fills in where a configuration is silent.

Chosen by error and time on two cores, by cross-validation and on the campaigns' own test splits of silicon
(lithium confirmed `standard`): 1000 functions, solved, had smaller errors sooner than 300 trained for 60 epochs.
`quick` trains a small basis on the engine all the same: fewer functions are less work in MD.
"""

from typing import Any, Final

__all__ = ["PRESETS", "fill_in"]

# `standard` is empty on purpose: its values are the defaults of the config models.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "quick": {
        "basis": {
            "cutoff": 5.0,
            "functions_per_element": 100,
            "embedding": "finnis_sinclair",
            "nradmax_by_orders": (10, 5, 3, 2),
            "lmax_by_orders": (0, 4, 2, 1),
        },
        "loss_weights": {"energy": 0.95, "force": 0.05},
        "fit": {"max_epochs": 40},
    },
    "standard": {},
    "accurate": {
        "basis": {
            "functions_per_element": 1500,
            "nradmax_by_orders": (15, 8, 6, 4, 3, 1),
            "lmax_by_orders": (0, 6, 5, 4, 2, 2),
        },
    },
}


def fill_in(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with what they do not say taken from `defaults`, mapping by mapping."""
    filled = dict(values)
    for key, default in defaults.items():
        if key not in filled:
            filled[key] = default
        elif isinstance(default, dict) and isinstance(filled[key], dict):
            filled[key] = fill_in(filled[key], default)
    return filled
