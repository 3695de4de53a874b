"""The audit log: who changed what. Each entry is written in the transaction of the change that it tells of.

The entries are a chain: the digest of each is made over it and the digest of the one before, so a later change of any
of them is found. Who can write the table can make the chain anew, or cut off its end: so each entry's digest is logged
too, and a check can be given one that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

FIRST = bytes(32)  # the digest before the first entry
OPERATOR = "operator"  # who has the database, and needs no key


class Entry(NamedTuple):
    """What is told of one change.

    Attributes:
        principal: who did it: the id of a principal, or `operator`.
        before, after: what was changed, as JSON; None if there was, or is, nothing.
        outcome: `done`, or why it was not.
    """

    number: int
    at: datetime
    principal: str
    action: str
    target: str
    before: str | None
    after: str | None
    outcome: str = "done"

    def digest(self, previous: bytes) -> bytes:
        """Its digest, given that of the one before."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        return hashlib.sha256(previous + orjson.dumps([self.number, at, *self[2:]])).digest()


def told(value: Mapping[str, Any] | None) -> str | None:
    """What was changed, as JSON."""
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class Chain:
    """Checks a chain, entry by entry.

    Attributes:
        number, digest: of the last entry that was right.
    """

    def __init__(self) -> None:
        self.number, self.digest = 0, FIRST

    def problem(self, entries: Iterable[tuple[Entry, bytes]]) -> str:
        """Go on with the next entries and their digests; what is wrong with the first that is not right, or nothing."""
        for entry, digest in entries:
            if entry.number != self.number + 1:
                return f"entry {self.number + 1} is missing: entry {entry.number} follows {self.number}"
            if entry.digest(self.digest) != digest:
                return f"entry {entry.number} ({entry.action} {entry.target}) was changed, or one before it"
            self.number, self.digest = entry.number, digest
        return ""
