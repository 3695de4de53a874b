"""All SQL of the persister.

A batch is one transaction. Its first attempts are one statement, `INSERT … SELECT FROM unnest(…) ON CONFLICT DO
NOTHING`, so that a result that comes twice is stored once. Each result of a later attempt (of a replayed dead letter)
is a statement of its own, which may replace a row that failed in an earlier attempt. Nothing else changes a stored row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import NamedTuple

import asyncpg

from persister import erasure_store, outbox
from persister.rows import COLUMNS, Row
from shared.postgres.pool import Postgres
from shared.postgres.preconditions import Need, check
from shared.service.settings import DatabaseSettings

# Made from the declarations in `persister.rows`: the order of `TYPES` is that of the columns and of the parameters.
TYPES = {"model_version_id": "int", **COLUMNS}
_ARRAYS = ", ".join(f"${position}::{kind}[]" for position, kind in enumerate(TYPES.values(), start=1))
ADD = f"INSERT INTO predictions ({', '.join(TYPES)}) SELECT * FROM unnest({_ARRAYS})"  # nosec B608
# What is stored is counted in the same statement. In the order of its key, so that no two batches wait for one another.
_COUNTS = ("tokens", "compute_us", "input_bytes")
_ADDED = ", ".join(f"{each} = usage.{each} + excluded.{each}" for each in ("requests", "failed", *_COUNTS))
_COUNTED = f"""
WITH stored AS ({{}} RETURNING principal, model_version_id, created_at, attempt, status, {', '.join(_COUNTS)})
INSERT INTO usage (day, principal, model_version_id, requests, failed, {', '.join(_COUNTS)})
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, principal, model_version_id,
    count(*) FILTER (WHERE attempt = 0), count(*) FILTER (WHERE status <> 'succeeded'),
    {', '.join(f'sum({each})' for each in _COUNTS)}
FROM stored GROUP BY 2, 1, 3 ORDER BY 2, 1, 3
ON CONFLICT (principal, day, model_version_id) DO UPDATE SET
    {_ADDED}"""  # nosec B608
_INSERT = _COUNTED.format(f"{ADD} ON CONFLICT DO NOTHING")
_REPLACED = ", ".join(f"{column} = excluded.{column}" for column in TYPES if column not in ("id", "created_at"))
_UPSERT = _COUNTED.format(
    f"{ADD} ON CONFLICT (id) DO UPDATE SET {_REPLACED} "  # nosec B608
    "WHERE predictions.status = 'failed' AND predictions.attempt < excluded.attempt"
)
_VERSION_IDS = "SELECT m.name, v.version, v.id FROM model_versions v JOIN models m ON m.id = v.model_id"
_ACTIVE = (
    "SELECT m.name, v.version FROM model_versions v JOIN models m ON m.id = v.model_id WHERE v.is_active "
    "ORDER BY v.id DESC LIMIT $1"
)
_ADD_MODEL = (
    "INSERT INTO models (name, description, task) VALUES ($1, 'not in the catalogue', 'unknown') "
    "ON CONFLICT (name) DO NOTHING"
)
_ADD_VERSION = (
    "INSERT INTO model_versions (model_id, version, artifact_path, is_active) "
    "SELECT id, $2, 'unknown', false FROM models WHERE name = $1 ON CONFLICT (model_id, version) DO NOTHING"
)


# The first, or the newest, successful predictions of a version, counted by bin of confidence and by label.
_DISTRIBUTION = """
SELECT coalesce(width_bucket(confidence, 0, 1, 10), 0) AS bin, coalesce(output_data->>'label', '') AS label, count(*)
FROM (
    SELECT confidence, output_data FROM predictions
    WHERE model_version_id = $1 AND status = 'succeeded' AND shadow_of IS NULL ORDER BY id {order} LIMIT $2
) window_of_predictions GROUP BY 1, 2"""


_NAMED = ("SELECT", "INSERT")
NEEDS = {
    **erasure_store.NEEDS,
    **outbox.NEEDS,
    "predictions": Need(tuple(TYPES), (*_NAMED, "UPDATE", "DELETE")),
    "usage": Need(("day", "principal", "model_version_id", "requests", "failed", *_COUNTS), (*_NAMED, "UPDATE")),
    "models": Need(("id", "name", "description", "task"), _NAMED),
    "model_versions": Need(("id", "model_id", "version", "artifact_path", "is_active"), _NAMED),
    "deployment": Need(("id",)),
}
FUNCTIONS = ("make_predictions_partition(date)", *erasure_store.FUNCTIONS)
_MAKE_PARTITION = "SELECT make_predictions_partition($1)"


class Distribution(NamedTuple):
    """Counts of predictions, by tenth of confidence (0: it has none) and by label ('': it has none)."""

    confidence: Counter[int]
    labels: Counter[str]


class Database:
    """A pool of connections, and what the persister does with Postgres: all but erasing.

    Attributes:
        postgres: the pool.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self.postgres = Postgres(settings, "persister")
        self._version_ids: dict[tuple[str, str], int] = {}

    async def close(self) -> None:
        """Close the pool."""
        await self.postgres.close()

    async def check(self) -> str:
        """Check that everything that this service needs is there; returns the id of the database.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or lacks something.
        """
        async with self.postgres.connection() as connection:
            await check(connection, NEEDS, writes=True, functions=FUNCTIONS)
            self._version_ids = {}  # after an outage it may be another database, or a restored one
            return str(await connection.fetchval("SELECT id FROM deployment"))

    async def insert(self, rows: Sequence[Row]) -> None:
        """Store a batch; when this returns, it is committed.

        Raises:
            RowRejected: some row of the batch is refused; nothing of the batch is stored.
            StoreUnavailable: Postgres cannot be reached, or cannot write now.
        """
        ids = await self._ids_of({(row.model, row.version) for row in rows})
        first = [row for row in rows if row.attempt == 0]
        later = sorted((row for row in rows if row.attempt > 0), key=lambda row: row.attempt)
        async with self.postgres.connection() as connection, connection.transaction():
            if first:
                await connection.execute(_INSERT, *arrays(first, ids))
            for row in later:
                await connection.execute(_UPSERT, *arrays([row], ids))
            if (callbacks := outbox.added(rows)) is not None:
                await connection.execute(outbox.ADD, *callbacks)

    async def make_partition(self, month: date) -> None:
        """Create a month's partition unless it exists.

        Args:
            month: its first day.

        Raises:
            RowRejected: the default partition already holds rows of that month, or it is years from now.
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self.postgres.connection() as connection:
            with suppress(asyncpg.DuplicateTableError, asyncpg.UniqueViolationError):  # made by another at this moment
                await connection.execute(_MAKE_PARTITION, month)

    async def active_versions(self, most: int) -> list[tuple[str, str]]:
        """Model and version of the active ones, of the file and registered by API: the newest, at most so many.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self.postgres.connection() as connection:
            return [(model, version) for model, version in await connection.fetch(_ACTIVE, most)]

    async def distribution(self, model: str, version: str, count: int, *, newest: bool) -> Distribution:
        """How confidence and labels are distributed in the first, or the newest, successful predictions of a version.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        ids = await self._ids_of({(model, version)})
        query = _DISTRIBUTION.format(order="DESC" if newest else "ASC")
        async with self.postgres.connection() as connection:
            rows = await connection.fetch(query, ids[model, version], count)
        confidence: Counter[int] = Counter()
        labels: Counter[str] = Counter()
        for bin_number, label, number in rows:
            confidence[min(bin_number, 10)] += number
            labels[label] += number
        return Distribution(confidence, labels)

    async def _ids_of(self, names: set[tuple[str, str]]) -> Mapping[tuple[str, str], int]:
        """The ids of model versions, each added if it is not there; they stay, whatever a check does meanwhile."""
        if names <= self._version_ids.keys():
            return self._version_ids
        async with self.postgres.connection() as connection, connection.transaction():
            known = await _version_ids(connection)
            for model, version in sorted(names - known.keys()):
                await connection.execute(_ADD_MODEL, model)
                await connection.execute(_ADD_VERSION, model, version)
            if not names <= known.keys():
                known = await _version_ids(connection)
        self._version_ids = known  # only now: what is rolled back is not known
        return known


def arrays(rows: Sequence[Row], ids: Mapping[tuple[str, str], int]) -> list[Sequence[object]]:
    """The values of each column; rows are turned into columns by one `zip`, which is the fastest way."""
    columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    versions = zip(columns["model"], columns["version"], strict=True)
    return [[ids[name] for name in versions], *(_without_nulls(columns[name]) for name in COLUMNS)]


def _without_nulls(column: Sequence[object]) -> Sequence[object]:
    """For speed, nothing for a column of NULLs alone, as a third of them are: `unnest` pads what is shorter."""
    return () if column.count(None) == len(column) else column


async def _version_ids(connection: asyncpg.Connection) -> dict[tuple[str, str], int]:
    return {(name, version): number for name, version, number in await connection.fetch(_VERSION_IDS)}
