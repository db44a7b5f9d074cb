"""Refused DFT results: the lines of quarantine/gen_NN.jsonl."""

from mlip_train.base.frozen import Frozen

__all__ = ["Refusal"]


class Refusal(Frozen):
    """A frame (or, with frame None, a whole file) that was not taken, and why."""

    source: str
    frame: int | None
    reason: str
