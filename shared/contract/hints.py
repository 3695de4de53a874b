"""Hints: what the completion script tells a gateway over pub/sub, so that it need not ask. Pure.

A hint carries no promise: it can be lost, and one that cannot be read is left out; the gateway re-reads the states of
what it waits for anyway. The fields of a hint, and the hints of a message, stand between separators of their own.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.messages import OUTCOME_FIELDS, STATUSES, Outcome

FIELD_SEPARATOR = b"\x1f"
ENTRY_SEPARATOR = b"\x1e"
_HINT_LENGTH = 4 + len(OUTCOME_FIELDS)


class Hint(NamedTuple):
    """A word to a gateway that a prediction is finished; `outcome` is None where it was too long to send along."""

    id: str
    attempt: int = 0
    model: str = ""
    version: str = ""
    outcome: Outcome | None = None


def decode_hints(payload: bytes) -> list[Hint]:
    """Decode one message of a gateway's channel."""
    hints = []
    for entry in payload.split(ENTRY_SEPARATOR):
        try:
            hints.append(_decode_hint(entry.split(FIELD_SEPARATOR)))
        except (ValueError, KeyError):
            continue
    return hints


def _decode_hint(values: list[bytes]) -> Hint:
    if len(values) < _HINT_LENGTH:
        return Hint(values[0].decode())
    prediction_id, attempt, model, version, status, result, confidence, took, queued, error, worker, cached = values[
        :_HINT_LENGTH
    ]
    return Hint(
        prediction_id.decode(),
        int(attempt),
        model.decode(),
        version.decode(),
        Outcome(
            STATUSES[status],
            result or None,
            float(confidence) if confidence else None,
            int(took),
            int(queued),
            error.decode(),
            worker.decode(),
            cached == b"1",
        ),
    )
