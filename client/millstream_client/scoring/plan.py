"""What is asked for a file, and by which idempotency keys, which are the same whenever it goes on. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream_client.batches import batches, size_of
from millstream_client.operations import Asked
from millstream_client.scoring.tables import Row


@dataclass(frozen=True)
class Plan:
    """What is asked.

    Attributes:
        run: made anew when a file is begun, so that the same file can be scored again.
        digest: SHA-256 of the input file.
        rows: how many it has.
    """

    run: str
    digest: str
    rows: int
    model: str
    version: str
    columns: Sequence[str]
    keep: Sequence[str]
    options: Mapping[str, Any] | None
    priority: str
    batch_size: int

    @property
    def asked(self) -> Asked:
        """What each request says."""
        return {"version": self.version, "options": self.options, "priority": self.priority}

    def batches(self, rows: Iterable[Row], done: int) -> Iterator[list[Row]]:
        """Rows as they are sent together, without those that are done: batches begin and end where they always do."""
        for batch in batches(rows, self.batch_size, size=lambda row: size_of(row.given)):
            if batch[0].number > done:
                yield batch

    def key(self, batch: Sequence[Row]) -> str:
        """The idempotency key of a batch."""
        facts = [self.run, self.digest, self.model, self.version, batch[0].number, batch[-1].number]
        return f"score-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"

    def differences(self, other: Plan) -> list[str]:
        """What is asked otherwise, in words."""
        mine, others = _facts(self), _facts(other)
        changed = ["the input file has changed"] if self.digest != other.digest else []
        return changed + [
            f"{name} was {mine[name]!r}, not {others[name]!r}" for name in mine if mine[name] != others[name]
        ]


def _facts(plan: Plan) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(plan).items() if name not in ("run", "digest", "rows")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
