"""Writing the audit log, in the transaction of the change that an entry tells of; see `shared.contract.audit`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.contract.audit import FIRST, Entry
from shared.postgres.pool import Postgres

log = logging.getLogger(__name__)

_LOCK = 0x61756469  # "audi": one entry is written at a time, since each needs the one before


class AuditLog:
    """The entries of one transaction.

    Args:
        connection: of asyncpg, in the transaction.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._written: list[tuple[Entry, bytes]] = []

    async def lock(self) -> None:
        """Wait until nobody else writes entries; until the end of the transaction nobody does."""
        await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)

    async def add(
        self, principal: str, action: str, target: str, before: str | None, after: str | None, outcome: str = "done"
    ) -> None:
        """Write an entry; see `Entry`. It must be locked."""
        last = await self._connection.fetchrow("SELECT number, digest FROM audit_log ORDER BY number DESC LIMIT 1")
        number, previous = (last["number"], last["digest"]) if last else (0, FIRST)
        at = await self._connection.fetchval("SELECT now()")
        entry = Entry(number + 1, at, principal, action, target, before, after, outcome)
        digest = entry.digest(previous)
        await self._connection.execute(
            "INSERT INTO audit_log (number, at, principal, action, target, before, after, outcome, digest) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            *(*entry, digest),
        )
        self._written.append((entry, digest))

    def committed(self) -> None:
        """Log what was written: call it after the transaction."""
        for entry, digest in self._written:
            facts = {"number": entry.number, "digest": digest.hex(), "principal": entry.principal}
            log.info("audited", extra={**facts, "action": entry.action, "target": entry.target})


@asynccontextmanager
async def audited(postgres: Postgres) -> AsyncIterator[tuple[Any, AuditLog]]:
    """A transaction and its audit log, which is told on once it is committed.

    Raises:
        StoreUnavailable: Postgres cannot be reached.
    """
    async with postgres.connection() as connection:
        audit_log = AuditLog(connection)
        async with connection.transaction():
            yield connection, audit_log
    audit_log.committed()
