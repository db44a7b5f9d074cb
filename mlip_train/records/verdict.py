"""Whether a potential may become the current one, and who decided that."""

from datetime import datetime

from mlip_train.base.frozen import Frozen

__all__ = ["Decision", "Standing", "Verdict"]


class Verdict(Frozen):
    """Whether a potential may be used, and why not."""

    accepted: bool
    reasons: tuple[str, ...] = ()  # against it, in sentences
    notes: tuple[str, ...] = ()  # what was found and does not count against it

    def __str__(self) -> str:
        return "accepted" if self.accepted else f"rejected: {'; '.join(self.reasons)}"


class Decision(Frozen):
    """What a person decided, whatever the gate had said."""

    accepted: bool
    by: str  # user@host
    when: datetime
    why: str = ""


class Standing(Frozen):
    """Whether a potential may be the current one: what the gate found, and what people decided since."""

    verdict: Verdict = Verdict(accepted=True)  # what was published before there was a gate, was accepted
    decisions: tuple[Decision, ...] = ()  # the newest last

    @property
    def accepted(self) -> bool:
        """The newest decision counts, else the gate's verdict."""
        return self.decisions[-1].accepted if self.decisions else self.verdict.accepted

    @property
    def state(self) -> str:
        """`accepted` or `rejected`, and by whom if not by the gate."""
        word = "accepted" if self.accepted else "rejected"
        return f"{word} by {self.decisions[-1].by}" if self.decisions else word
