"""SQL of erasures and of retention: rows go a batch at a time, each in a transaction of its own, or a month at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from persister.partitions import month_of
from shared.contract.audit import told
from shared.contract.erasure import Erasure
from shared.contract.errors import StoreUnavailable
from shared.postgres.audit_log import audited
from shared.postgres.pool import Postgres
from shared.postgres.preconditions import Need

BATCH = 1000  # rows; their deletion takes some milliseconds
LOWEST = UUID(int=0)

_TAKE = """
UPDATE erasures SET next_at = now() + $1 WHERE id = (
    SELECT id FROM erasures WHERE next_at <= now() ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id, below, coalesce(principal, '') AS principal, coalesce(subject_id, '') AS subject_id, state"""
# Copies for a shadow version go with their originals. Each half is read from an index of its own: the planner sees the
# values, so it takes the one of the filter that is there.
_FIND = """
SELECT id FROM ((
    SELECT id FROM predictions
    WHERE shadow_of IS NULL AND id > $1 AND id < $2 AND ($3 = '' OR principal = $3) AND ($4 = '' OR subject_id = $4)
    ORDER BY id LIMIT $5
) UNION ALL (
    SELECT id FROM predictions
    WHERE shadow_of < $2 AND id > $1 AND ($3 = '' OR shadow_for = $3) AND ($4 = '' OR subject_id = $4)
    ORDER BY id LIMIT $5
)) found ORDER BY id LIMIT $5"""
_FIND_OLD = """
SELECT id FROM ((
    SELECT id FROM predictions WHERE shadow_of IS NULL AND model_version_id = $3 AND id > $1 AND id < $2
    ORDER BY id LIMIT $4
) UNION ALL (
    SELECT id FROM predictions WHERE shadow_of IS NOT NULL AND model_version_id = $3 AND id > $1 AND id < $2
    ORDER BY id LIMIT $4
)) found ORDER BY id LIMIT $4"""
_VERSIONS_OF = "SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = $1 ORDER BY 1"
_PARTITIONS = (
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
    "WHERE inhparent = 'predictions'::regclass ORDER BY 1"
)
_IN_USE = ("locked", "conflict")
_DROP_MONTH = "SELECT drop_predictions_partition($1, $2::int[])"
_DELETE = "DELETE FROM predictions WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3"
_DELETE_FEEDBACK = "DELETE FROM feedback WHERE prediction_id = ANY($1::uuid[])"
_COUNT = """
UPDATE erasures SET rows = rows + $2, requests = requests + $3, dead_letters = dead_letters + $4,
    waiting = coalesce($5, waiting), next_at = now() + $6
WHERE id = $1"""
_RELEASE = "UPDATE erasures SET next_at = now() WHERE id = $1"
_REOPEN = "UPDATE erasures SET state = 'running', finished_at = NULL WHERE id = $1 AND state = 'done'"
_FINISH = """
UPDATE erasures SET state = 'done', finished_at = now(), waiting = 0, note = $2, next_at = now() + $3
WHERE id = $1 RETURNING requested_by, rows, requests, dead_letters"""
_LOOK_AGAIN = """
UPDATE erasures SET next_at = CASE WHEN now() < finished_at + $2 THEN now() + $3 END
WHERE id = $1"""

NEEDS = {
    "erasures": Need(
        (
            *(
                "id",
                "principal",
                "subject_id",
                "below",
                "state",
                "finished_at",
                "rows",
                "requests",
                "dead_letters",
                "waiting",
            ),
            *("note", "next_at", "requested_by"),
        ),
        ("SELECT", "UPDATE"),
    ),
    "audit_log": Need(("number", "digest"), ("SELECT", "INSERT")),
    "feedback": Need(("prediction_id",), ("SELECT", "DELETE")),
}
FUNCTIONS = ("drop_predictions_partition(date, integer[])",)


class Taken(NamedTuple):
    """An erasure in hand; `is_done`: it was finished before, and is looked at again."""

    erasure: Erasure
    is_done: bool


class ErasureStore:
    """Takes erasures and deletes rows. Every method raises `StoreUnavailable` if Postgres cannot be reached.

    Args:
        lease: for how long what is taken, or counted, is nobody else's.
    """

    def __init__(self, postgres: Postgres, lease: timedelta) -> None:
        self._postgres = postgres
        self._lease = lease
        self._keep_at = 0.0

    async def take(self) -> Taken | None:
        """Take the erasure whose time came first; None if there is none."""
        async with self._postgres.connection() as connection:
            row = await connection.fetchrow(_TAKE, self._lease)
        if row is None:
            return None
        *erasure, state = row
        return Taken(Erasure(*erasure), state == "done")

    async def delete_rows(self, erasure: Erasure, after: UUID) -> Sequence[UUID]:
        """Delete the next batch of rows with ids above `after`, and count them; returns their ids."""
        async with self._postgres.connection() as connection, connection.transaction():
            ids = await _delete(connection, _FIND, after, erasure.below, erasure.principal, erasure.subject_id)
            await connection.execute(_COUNT, erasure.id, len(ids), 0, 0, None, self._lease)
        return ids

    async def count(
        self, erasure: Erasure, *, requests: int = 0, dead_letters: int = 0, waiting: int | None = None
    ) -> None:
        """Count what was ended or deleted in Redis, note what waits there, and keep the erasure in hand."""
        async with self._postgres.connection() as connection:
            await connection.execute(_COUNT, erasure.id, 0, requests, dead_letters, waiting, self._lease)
        self._keep_at = time.monotonic() + self._lease.total_seconds() / 3

    async def keep(self, erasure: Erasure) -> None:
        """Keep an erasure in hand; call it often."""
        if time.monotonic() >= self._keep_at:
            await self.count(erasure)

    async def release(self, erasure: Erasure) -> None:
        """Leave an erasure to others, at once."""
        async with self._postgres.connection() as connection:
            await connection.execute(_RELEASE, erasure.id)

    async def reopen(self, erasure: Erasure) -> None:
        """It was not done after all."""
        async with self._postgres.connection() as connection:
            await connection.execute(_REOPEN, erasure.id)

    async def finish(self, erasure: Erasure, note: str, look_again: timedelta) -> None:
        """Note that nothing is left, and when to look again."""
        async with audited(self._postgres) as (connection, audit_log):
            await audit_log.lock()
            by, *counts = await connection.fetchrow(_FINISH, erasure.id, note, look_again)
            found = dict(zip(("predictions", "requests", "dead_letters"), counts, strict=True))
            await audit_log.add(by, "erasure.finish", str(erasure.id), None, told({**found, "note": note}))

    async def look_again(self, erasure: Erasure, until: timedelta, every: timedelta) -> None:
        """Note when to look again at one that is done: not any more once it has been for so long."""
        async with self._postgres.connection() as connection:
            await connection.execute(_LOOK_AGAIN, erasure.id, until, every)

    async def versions_of(self, model: str) -> Sequence[int]:
        """The ids of a model's versions, those that left the catalogue too."""
        async with self._postgres.connection() as connection:
            return [row["id"] for row in await connection.fetch(_VERSIONS_OF, model)]

    async def months(self) -> Sequence[date]:
        """The months that have partitions, by their first days."""
        async with self._postgres.connection() as connection:
            names = [row["relname"] for row in await connection.fetch(_PARTITIONS)]
        return [month for name in names if (month := month_of(name)) is not None]

    async def drop_month(self, month: date, versions: Sequence[int]) -> bool:
        """Drop a month with what was said of it, if it is over and has rows of these versions only; was it dropped?

        It is not while others use it, or read from all months, for half a second.
        """
        try:
            async with self._postgres.connection() as connection:
                return bool(await connection.fetchval(_DROP_MONTH, month, versions))
        except StoreUnavailable as error:
            if error.reason not in _IN_USE:
                raise
            return False

    async def delete_old(self, version: int, below: UUID, after: UUID) -> Sequence[UUID]:
        """Delete the next batch of a version's rows with ids above `after` and below `below`; returns their ids."""
        async with self._postgres.connection() as connection, connection.transaction():
            return await _delete(connection, _FIND_OLD, after, below, version)


async def _delete(connection: Any, find: str, after: UUID, below: UUID, *wanted: str | int) -> list[UUID]:
    """Delete what a query finds. Found and deleted apart: two that delete the same must both see that there is more."""
    ids = [row["id"] for row in await connection.fetch(find, after, below, *wanted, BATCH)]
    if ids:
        await connection.execute(_DELETE, ids, ids[0], ids[-1])
        await connection.execute(_DELETE_FEEDBACK, ids)
    return ids
