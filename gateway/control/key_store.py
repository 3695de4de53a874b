"""API keys, who they are of, and the audit log, in Postgres: all SQL of the gateway that is about who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from gateway.core.principal import Principal, Scope
from shared.contract.audit import Entry
from shared.postgres.audit_log import AuditLog
from shared.postgres.pool import Postgres
from shared.postgres.preconditions import Need, check
from shared.service.settings import DatabaseSettings

# Who authenticates does not wait for those who read the history: a few connections of its own.
CONNECTIONS = 2
_COLUMNS = (
    "k.id, k.principal_id, k.secret_hmac, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, "
    "p.subject, p.tenant, p.models, p.profile FROM api_keys k JOIN principals p ON p.id = k.principal_id"
)
_FIND = f"SELECT {_COLUMNS} WHERE k.id = ANY($1::text[])"  # nosec B608
_PAGE = f"""
SELECT {_COLUMNS} WHERE k.id > $1 AND ($2::text IS NULL OR p.tenant = $2)
ORDER BY k.id LIMIT $3"""  # nosec B608
_VALID = "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())"
_COUNT = f"SELECT count(*) FROM api_keys k WHERE {_VALID}"  # nosec B608
_ADMINS = f"SELECT count(*) FROM api_keys k WHERE 'admin' = ANY(k.scopes) AND {_VALID}"  # nosec B608
_USED = (
    "UPDATE api_keys k SET last_used_at = used.at FROM unnest($1::text[], $2::timestamptz[]) used (id, at) "
    "WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at - interval '1 minute')"
)


NEEDS = {
    "principals": Need(("id", "issuer", "subject", "tenant", "models", "profile"), ("SELECT", "INSERT")),
    "api_keys": Need(("id", "principal_id", "secret_hmac", "scopes"), ("SELECT", "INSERT", "UPDATE")),
    "audit_log": Need(("number", "digest"), ("SELECT", "INSERT")),
}


class StoredKey(NamedTuple):
    """An API key as it is kept.

    Attributes:
        name: of whom it is, as who made it calls them.
        secret_hmac: what is kept of its secret.
    """

    id: str
    name: str
    principal: Principal
    secret_hmac: bytes
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class KeyStore:
    """Reads and changes API keys through a few connections."""

    def __init__(self, settings: DatabaseSettings) -> None:
        few = settings.model_copy(update={"database_pool_size": min(CONNECTIONS, settings.database_pool_size)})
        self._postgres = Postgres(few, "gateway_keys")
        self._checked = False

    async def close(self) -> None:
        """Close the connections."""
        await self._postgres.close()

    async def find(self, ids: Sequence[str]) -> dict[str, StoredKey]:
        """Those of the keys that are there, whether they are good (any more) or not.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self._connection() as connection:
            return {row["id"]: _stored(row) for row in await connection.fetch(_FIND, list(ids))}

    async def page(self, tenant: str | None, after: str, limit: int) -> list[StoredKey]:
        """Keys with ids above `after`, in the order of their ids; of one tenant, unless it is None.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self._connection() as connection:
            return [_stored(row) for row in await connection.fetch(_PAGE, after, tenant, limit)]

    async def note_used(self, at: Mapping[str, datetime]) -> None:
        """Note when keys were last used; to the minute.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        ids = sorted(at)  # all gateways in the same order: none waits for another that waits for it
        async with self._connection() as connection:
            await connection.execute(_USED, ids, [at[each] for each in ids])

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[KeyChange]:
        """A transaction that changes keys, and the audit log with them; one at a time, of all gateways.

        Raises:
            StoreUnavailable: Postgres cannot be reached; nothing was changed, or it is not known whether it was.
        """
        async with self._connection() as connection:
            async with connection.transaction():
                change = KeyChange(connection)
                await change.audit_log.lock()
                yield change
        change.audit_log.committed()

    async def audit_log(self, after: int, limit: int) -> list[tuple[Entry, bytes]]:
        """Entries of the audit log above a number, with their digests.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        query = (
            "SELECT number, at, principal, action, target, before, after, outcome, digest FROM audit_log "
            "WHERE number > $1 ORDER BY number LIMIT $2"
        )
        async with self._connection() as connection:
            rows = await connection.fetch(query, after, limit)
        return [(Entry(*list(row.values())[:-1]), row["digest"]) for row in rows]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._postgres.connection() as connection:
            if not self._checked:
                await check(connection, NEEDS, writes=True)
                self._checked = True
            yield connection


class KeyChange:
    """What can be done in one transaction.

    Attributes:
        audit_log: tells of what is done.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.audit_log = AuditLog(connection)

    async def count(self) -> int:
        """How many keys are good."""
        return int(await self._connection.fetchval(_COUNT))

    async def count_admins(self) -> int:
        """How many of them allow `admin`."""
        return int(await self._connection.fetchval(_ADMINS))

    async def principal(self, principal_id: str) -> Principal | None:
        """What a principal may use, without scopes: each of its keys has its own."""
        row = await self._connection.fetchrow("SELECT * FROM principals WHERE id = $1", principal_id)
        return row and Principal(principal_id, frozenset(), tuple(row["models"]), row["tenant"], row["profile"])

    async def find(self, key_id: str) -> StoredKey | None:
        """A key."""
        row = await self._connection.fetchrow(_FIND, [key_id])
        return row and _stored(row)

    async def add(self, issuer: str, key: StoredKey) -> None:
        """Add a key, and its principal if that is new."""
        of = key.principal
        await self._connection.execute(
            "INSERT INTO principals (id, issuer, subject, tenant, models, profile) VALUES ($1, $2, $3, $4, $5, $6) "
            "ON CONFLICT (id) DO NOTHING",
            *(of.id, issuer, key.name, of.tenant, list(of.models), of.profile),
        )
        await self._connection.execute(
            "INSERT INTO api_keys (id, principal_id, secret_hmac, scopes, created_at, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            *(key.id, of.id, key.secret_hmac, sorted(of.scopes), key.created_at, key.expires_at),
        )

    async def revoke(self, key_id: str) -> None:
        """Take a key back."""
        await self._connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)


def _stored(row: Any) -> StoredKey:
    scopes = frozenset(Scope(each) for each in row["scopes"] if each in set(Scope))
    principal = Principal(row["principal_id"], scopes, tuple(row["models"]), row["tenant"], row["profile"])
    times = (row["created_at"], row["expires_at"], row["revoked_at"], row["last_used_at"])
    return StoredKey(row["id"], row["subject"], principal, row["secret_hmac"], *times)
