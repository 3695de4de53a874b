"""Hints: what the completion script tells a gateway over pub/sub, so that it need not ask. Pure.

A message is a list of records. The first names the fields of all others, so a field is known by its name here as it is
in a stream; a record may end early, and one that holds an id alone says only that this prediction has finished.

A hint carries no promise: it can be lost, and one that cannot be read is skipped; the gateway reads the states of what
it waits for again anyway.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.messages import Outcome, decode_outcome

FIELD_SEPARATOR = b"\x1f"
RECORD_SEPARATOR = b"\x1e"


class Hint(NamedTuple):
    """Word to a gateway that a prediction has finished; `outcome` is None if it was too long to send along."""

    id: str
    attempt: int = 0
    model: str = ""
    version: str = ""
    outcome: Outcome | None = None


def decode_hints(payload: bytes) -> list[Hint]:
    """Decode one message of a gateway's channel."""
    header, *records = payload.split(RECORD_SEPARATOR)
    names = header.split(FIELD_SEPARATOR)
    hints = []
    for record in records:
        try:
            hints.append(_decode_hint(dict(zip(names, record.split(FIELD_SEPARATOR), strict=False))))
        except (MalformedMessage, ValueError, KeyError):
            continue
    return hints


def _decode_hint(fields: dict[bytes, bytes]) -> Hint:
    prediction_id = fields[b"id"].decode()
    if len(fields) == 1:
        return Hint(prediction_id)
    return Hint(
        prediction_id,
        int(fields[b"attempt"]),
        fields[b"model"].decode(),
        fields[b"version"].decode(),
        decode_outcome(fields),
    )
