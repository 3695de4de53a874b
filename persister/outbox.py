"""SQL of callbacks: the outbox that is filled with the rows of predictions, and shared by all persisters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from persister.rows import Row
from shared.postgres.pool import Postgres
from shared.postgres.preconditions import Need

ADD = (
    "INSERT INTO webhooks (prediction_id, attempt, url, host) "
    "SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING"
)
# What is taken is nobody else's until its lease ends: nothing is held in a transaction while it is sent.
_TAKE = """
WITH due AS (
    UPDATE webhooks SET tries = tries + 1, next_at = now() + $1 WHERE (prediction_id, attempt) IN (
        SELECT prediction_id, attempt FROM webhooks WHERE next_at <= now() AND host <> ALL($2::text[])
        ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ) RETURNING *
)
SELECT due.prediction_id, due.attempt, due.url, due.host, due.tries, now() - due.created_at AS age,
    p.id IS NOT NULL AS kept, m.name, v.version, p.status, p.output_data, p.confidence, p.processing_time_ms,
    p.created_at, p.completed_at, p.error, p.tags
FROM due
LEFT JOIN predictions p ON p.id = due.prediction_id
LEFT JOIN model_versions v ON v.id = p.model_version_id
LEFT JOIN models m ON m.id = v.model_id"""
_DELETE = "DELETE FROM webhooks WHERE prediction_id = $1 AND attempt = $2"
_GIVE_UP = "UPDATE predictions SET callback_error = $3 WHERE id = $1 AND attempt = $2"
_LATER = "UPDATE webhooks SET next_at = now() + $3, last_error = $4 WHERE prediction_id = $1 AND attempt = $2"
_MOST_ERROR_CHARS = 500

NEEDS = {
    "webhooks": Need(
        ("prediction_id", "attempt", "url", "host", "created_at", "tries", "next_at", "last_error"),
        ("SELECT", "INSERT", "UPDATE", "DELETE"),
    )
}


class Due(NamedTuple):
    """A callback in hand.

    Attributes:
        tries: how often it was tried, this time included.
        age: since the prediction was stored.
        body: what is sent, JSON; None if the prediction is not there any more.
    """

    prediction_id: str
    attempt: int
    url: str
    host: str
    tries: int
    age: timedelta
    body: bytes | None
    model: str
    version: str

    @property
    def id(self) -> str:
        """By which a receiver knows it again."""
        return f"{self.prediction_id}.{self.attempt}"


def added(rows: Sequence[Row]) -> list[list[Any]] | None:
    """The parameters of `ADD` for those rows that have a callback; None if none has."""
    found = [row for row in rows if row.callback_url]
    if not found:
        return None
    hosts = [(urlsplit(row.callback_url).hostname or "")[:300] for row in found]
    return [
        [row.id for row in found],
        [row.attempt for row in found],
        [row.callback_url for row in found],
        hosts,
    ]


class Outbox:
    """Takes callbacks. Every method raises `StoreUnavailable` if Postgres cannot be reached."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def take(self, most: int, busy: Sequence[str], lease: timedelta) -> list[Due]:
        """Callbacks that are due, the longest due first; none to a host that is busy."""
        async with self._postgres.connection() as connection:
            return [_due(row) for row in await connection.fetch(_TAKE, lease, list(busy), most)]

    async def delete(self, due: Due) -> None:
        """It is delivered, or its prediction is gone."""
        async with self._postgres.connection() as connection:
            await connection.execute(_DELETE, due.prediction_id, due.attempt)

    async def give_up(self, due: Due, error: str) -> None:
        """It will not be delivered; its prediction says so."""
        async with self._postgres.connection() as connection, connection.transaction():
            await connection.execute(_GIVE_UP, due.prediction_id, due.attempt, error[:_MOST_ERROR_CHARS])
            await connection.execute(_DELETE, due.prediction_id, due.attempt)

    async def later(self, due: Due, pause: timedelta, error: str) -> None:
        """It is tried again."""
        async with self._postgres.connection() as connection:
            await connection.execute(_LATER, due.prediction_id, due.attempt, pause, error[:_MOST_ERROR_CHARS])


def _due(row: Any) -> Due:
    about = (row["attempt"], row["url"], row["host"], row["tries"], row["age"])
    body = _body(row) if row["kept"] else None
    return Due(str(row["prediction_id"]), *about, body, row["name"] or "", row["version"] or "")


def _body(row: Any) -> bytes:
    """As the API shows the prediction, without its input."""
    data = {
        "prediction_id": str(row["prediction_id"]),
        "model": row["name"],
        "version": row["version"],
        "status": row["status"],
        "result": None if row["output_data"] is None else orjson.Fragment(row["output_data"]),
        "confidence": row["confidence"],
        "processing_time_ms": row["processing_time_ms"],
        "created_at": row["created_at"],
    }
    for name in ("error", "tags"):
        if row[name]:
            data[name] = orjson.Fragment(row[name]) if name == "tags" else row[name]
    return orjson.dumps({"type": f"prediction.{row['status']}", "timestamp": row["completed_at"], "data": data})
