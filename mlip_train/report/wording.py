"""What became of a potential, in words."""

from datetime import UTC
from typing import NamedTuple

from mlip_train.records.potential import PotentialRecord
from mlip_train.records.verdict import Decision

__all__ = ["Headline", "headline"]


class Headline(NamedTuple):
    """The line that a person reads first."""

    accepted: bool
    sentence: str


def headline(record: PotentialRecord) -> Headline:
    """Say who accepted or rejected a potential, and why."""
    sentence = _of_the_gate(record) if not record.decisions else _of_a_person(record, record.decisions[-1])
    return Headline(record.accepted, sentence)


def _of_the_gate(record: PotentialRecord) -> str:
    if "verdict" not in record.model_fields_set:
        return "Accepted: published before potentials were judged by a gate."
    if record.verdict.accepted:
        return "Accepted by the gate."
    return f"Rejected by the gate: {_reasons(record)}."


def _of_a_person(record: PotentialRecord, decision: Decision) -> str:
    word = "Accepted" if decision.accepted else "Rejected"
    if "verdict" not in record.model_fields_set or (record.verdict.accepted and decision.accepted):
        gate = ""
    elif record.verdict.accepted:
        gate = ", though the gate had accepted it"
    else:
        gate = f", {'though' if decision.accepted else 'as'} the gate had rejected it ({_reasons(record)})"
    why = f"The reason given: {decision.why.rstrip('.')}." if decision.why else "No reason was given."
    return f"{word} by {decision.by} on {decision.when.astimezone(UTC):%Y-%m-%d}{gate}. {why}"


def _reasons(record: PotentialRecord) -> str:
    return "; ".join(reason.rstrip(".") for reason in record.verdict.reasons) or "no reason was recorded"
