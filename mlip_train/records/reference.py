"""The reference potential that a published potential was made with."""

from typing import Literal

from mlip_train.atoms.pair_potentials import Baseline, SwitchRadii
from mlip_train.base.frozen import Frozen

__all__ = ["SettledReference"]


class SettledReference(Frozen):
    """A reference potential with all its numbers: what a published potential was made with."""

    kind: Literal["none", "zbl", "lj"] = "none"
    mode: Literal["core", "delta"] | None = None
    baseline: Baseline | None = None  # subtracted from the labels and added to the predictions
    switches: dict[str, SwitchRadii] = {}  # Å, between which ACE hands over to what is below, per pair

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        radii = ", ".join(f"{r.outer:.2f} and {r.inner:.2f} Å ({pair})" for pair, r in self.switches.items())
        joined = "takes over from ACE" if self.mode == "core" else "is added to ACE, which fades out"
        return f"{self.kind} ({self.mode}) {joined} between {radii}"
