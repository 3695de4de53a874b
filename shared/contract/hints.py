"""Hints: pub/sub messages from scripts that tell a gateway which predictions have finished, or how far they are. Pure.

A message is a list of records. The first holds the field names of all the others, so that fields go by name, as in a
stream. A record may end early: one that holds only an id says that this prediction has finished, without its outcome.
One that holds `progress` says how far it is; only who has a stream of its events open is told that.

Nothing depends on hints: one may be lost, and one that cannot be read is skipped, since the gateway re-reads the states
of the predictions it waits for anyway.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.messages import Outcome, decode_outcome
from shared.contract.progress import Progress, decode_progress

FIELD_SEPARATOR = b"\x1f"
RECORD_SEPARATOR = b"\x1e"


class Hint(NamedTuple):
    """A prediction has finished, unless there is `progress`; `outcome` is None if it was too long to include."""

    id: str
    attempt: int = 0
    model: str = ""
    version: str = ""
    outcome: Outcome | None = None
    progress: Progress | None = None


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
    if (told := fields.get(b"progress")) is not None:
        return Hint(prediction_id, progress=decode_progress(told))
    return Hint(
        prediction_id,
        int(fields[b"attempt"]),
        fields[b"model"].decode(),
        fields[b"version"].decode(),
        decode_outcome(fields),
    )
