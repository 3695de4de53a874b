"""Reading finished predictions from Postgres.

Pages are cut by id (keyset pagination), never by OFFSET: ids are UUIDv7 and sort by acceptance, so the primary key and
the index `(model_version_id, id)` yield a page without sorting all rows. Paging may miss predictions that finish behind
the cursor. Copies for a shadow version are found by their id, but are in no list.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from gateway.core.errors import UnknownModel
from gateway.core.finished import Callback, Course, Finished, best_first
from gateway.core.principal import Principal, Scope
from shared.contract.errors import StoreUnavailable
from shared.contract.given import Given
from shared.contract.messages import Outcome, Status
from shared.contract.queues import Priority
from shared.contract.tags import Tag, encode_tags
from shared.postgres.pool import Postgres
from shared.postgres.preconditions import Need, check
from shared.service.settings import DatabaseSettings
from shared.streams.deployment import Deployment

# Queries marked `nosec` are built from constants only; values are always parameters.
# The columns of outcome fields that are not stored under their own name.
_COLUMN_OF = {"result": "output_data"}
_OUTCOME_COLUMNS = {field: _COLUMN_OF.get(field, field) for field in Outcome._fields}
_OWN_COLUMNS = (
    *("id", "principal", "priority", "tags", "attempt", "completed_at", "trace_id"),
    *_OUTCOME_COLUMNS.values(),
)
_LISTED = ", ".join(["m.name", "v.version", *(f"p.{each}" for each in _OWN_COLUMNS)])
_NAMES = "JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id"
_FIND = f"""
SELECT {_LISTED}, p.input_data, p.options, p.callback, p.callback_error, due.tries, due.last_error
FROM predictions p {_NAMES} LEFT JOIN due_callbacks due ON due.prediction_id = p.id AND due.attempt = p.attempt
WHERE p.id = ANY($1::uuid[])"""  # nosec B608
_VERSIONS = (
    "SELECT v.id, m.name FROM model_versions v JOIN models m ON m.id = v.model_id "
    "WHERE ($1::text IS NULL OR m.name = $1) AND ($2::text IS NULL OR v.version = $2)"
)
_OF = (
    "shadow_of IS NULL AND id < $1 AND id >= $5 AND ($2::text IS NULL OR status = $2) "
    "AND ($4::text IS NULL OR principal = $4) AND ($6::jsonb IS NULL OR tags @> $6)"
)
_PAGE = f"""
SELECT {_LISTED} FROM (
    SELECT * FROM predictions
    WHERE {_OF}
    ORDER BY id DESC LIMIT $3
) p {_NAMES} ORDER BY p.id DESC"""  # nosec B608
_PAGE_OF_VERSION = f"""(
    SELECT * FROM predictions
    WHERE model_version_id = ${{}} AND {_OF}
    ORDER BY id DESC LIMIT $3
)"""  # nosec B608

_WRITTEN = ("SELECT", "INSERT", "UPDATE")
NEEDS = {
    "predictions": Need(
        (*_OWN_COLUMNS, "model_version_id", "input_data", "options", "shadow_of", "callback", "callback_error"),
    ),
    "due_callbacks": Need(("prediction_id", "attempt", "tries", "last_error")),
    "models": Need(("id", "name", "worker_group", "says", "generation"), _WRITTEN),
    "model_versions": Need(
        ("id", "model_id", "version", "entry", "artifact_digest", "registered_by", "deleted_at"), _WRITTEN
    ),
    "registry": Need(("epoch",), ("SELECT", "UPDATE")),
    "usage": Need(("day", "principal", "model_version_id", "requests")),
    "erasures": Need(("id", "principal", "subject_id", "below", "state", "waiting"), ("SELECT", "INSERT")),
    "deployment": Need(("id",)),
    "experiments": Need(("id", "model", "arms", "shadow", "started_at", "stopped_at"), _WRITTEN),
    "feedback": Need(("prediction_id", "correct", "label", "principal", "at"), _WRITTEN),
}
_CHECK_EVERY_S = 30
OLDEST, NEWEST = UUID(int=0), UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which predictions of the history to return: of those that the caller may read, the ones with these values.

    Attributes:
        since: the least id.
    """

    caller: Principal
    model: str | None = None
    version: str | None = None
    status: Status | None = None
    since: UUID = OLDEST
    tag: Tag | None = None


class History:
    """Reads predictions through a pool of connections, which others of this process share.

    Attributes:
        postgres: the pool.
    """

    def __init__(self, settings: DatabaseSettings, deployment: Deployment) -> None:
        self.postgres = Postgres(settings, "gateway")
        self._deployment = deployment
        self._checked_until = 0.0

    async def close(self) -> None:
        """Close the pool."""
        await self.postgres.close()

    async def ping(self) -> None:
        """Check that Postgres responds, has what is read from it, and is the one that predictions go to.

        Raises:
            StoreUnavailable: it does not, or is not.
        """
        try:
            await self._check()
        except BaseException:
            self._checked_until = 0.0
            raise
        self._checked_until = time.monotonic() + _CHECK_EVERY_S

    async def find(self, prediction_ids: Sequence[str]) -> dict[str, Finished]:
        """Those of the predictions that are stored, by id.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        rows = await self.fetch(_FIND, [UUID(each) for each in prediction_ids])
        return {str(row["id"]): _finished(row) for row in rows}

    async def page(self, filters: Filters, before: UUID, limit: int) -> list[Finished]:
        """Predictions with ids below `before`, that is, accepted earlier, newest first.

        Raises:
            UnknownModel: Postgres knows no such model, or no such version of it.
            StoreUnavailable: Postgres cannot be reached.
        """
        status = None if filters.status is None else filters.status.value
        caller, of_all = filters.caller, Scope.READ_ALL in filters.caller.scopes
        tag = None if filters.tag is None else encode_tags(dict([filters.tag])).decode()
        values = (before, status, limit, None if of_all else caller.id, filters.since, tag)
        if not of_all and not caller.id:
            return []  # what nobody is known to have asked for is not anybody's own
        if filters.model is None and (caller.may_use_all or not of_all):
            return [_finished(row) for row in await self.fetch(_PAGE, *values)]
        ids = await self._versions(filters)
        rows = await self.fetch(_page_of_versions(len(ids)), *values, *ids) if ids else []
        return [_finished(row) for row in rows]

    async def _versions(self, filters: Filters) -> list[int]:
        """The versions that are asked for.

        Raises:
            UnknownModel: there is none, or the caller may not use that model.
        """
        rows = await self.fetch(_VERSIONS, filters.model, filters.version)
        found = [row["id"] for row in rows if filters.caller.may_use(row["name"])]
        if filters.model is not None and not found:
            raise UnknownModel(filters.model, filters.version)
        return found

    async def _check(self) -> None:
        async with self.postgres.connection() as connection:
            await check(connection, NEEDS, writes=False)
            database_id = str(await connection.fetchval("SELECT id FROM deployment"))
        try:
            await self._deployment.check(database_id)
        except StoreUnavailable as error:
            if error.store == "postgres":
                raise  # without Redis, what is stored is read all the same

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of a query, after a check of Postgres if one is due.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        now = time.monotonic()
        if now >= self._checked_until:
            if self._checked_until:
                self._checked_until = now + _CHECK_EVERY_S  # one checks again; what was found before holds for others
            await self.ping()
        async with self.postgres.connection() as connection:
            return list(await connection.fetch(query, *values))


def _page_of_versions(count: int) -> str:
    """A page of several versions: a page of each, merged.

    Each id is a parameter and no statement is kept prepared, so the plan fits the frequency of each: a version may have
    half of all rows or none, and a plan made for one reads the whole table for another.
    """
    pages = " UNION ALL ".join(_PAGE_OF_VERSION.format(number) for number in range(7, 7 + count))
    merged = f"SELECT * FROM ({pages}) pages ORDER BY id DESC LIMIT $3"  # nosec B608
    return f"SELECT {_LISTED} FROM ({merged}) p {_NAMES} ORDER BY p.id DESC"  # nosec B608


def _finished(row: asyncpg.Record) -> Finished:
    trace_id = "" if row["trace_id"] is None else row["trace_id"].hex
    course = Course(row["attempt"], row["completed_at"], stored=True, trace_id=trace_id)
    tags = (row["tags"] or "").encode()
    about = _given(row), row["principal"], Priority(row["priority"]), tags, course, _callback(row)
    return Finished(str(row["id"]), row["name"], row["version"], _outcome(row), *about)


def _given(row: asyncpg.Record) -> Given | None:
    if "input_data" not in row:
        return None
    options = row["options"]
    return Given(row["input_data"].encode(), None if options is None else options.encode())


def _callback(row: asyncpg.Record) -> Callback | None:
    if "callback" not in row or row["callback"] is None:
        return None
    if row["tries"] is not None:
        return Callback(row["callback"], "waiting", row["tries"], row["last_error"])
    error = row["callback_error"] or ""
    return Callback(row["callback"], "failed" if error else "delivered", None, error)


def _outcome(row: asyncpg.Record) -> Outcome:
    stored: dict[str, Any] = {field: row[column] for field, column in _OUTCOME_COLUMNS.items()}
    stored = {field: value for field, value in stored.items() if value is not None}
    stored["status"] = Status(stored["status"])
    if "result" in stored:
        stored["result"] = best_first(stored["result"].encode())
    return Outcome(**stored)
