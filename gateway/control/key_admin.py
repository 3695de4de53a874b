"""Making API keys, listing them and taking them back; each change stands in the audit log."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gateway.control import api_keys
from gateway.control.api_keys import ID_BYTES, SECRET_BYTES, ApiKey, hmac_of
from gateway.control.grants import check_grant, may_administer
from gateway.control.key_store import KeyChange, KeyStore, StoredKey
from gateway.core.errors import Conflict, UnknownApiKey
from gateway.core.principal import Principal, Scope
from shared.contract import audit
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import principal_id
from shared.streams.revocations import Revocations

log = logging.getLogger(__name__)

MOST_KEYS = 10_000


class NewKey(NamedTuple):
    """What a key is to be; `models`, `tenant` and `profile` are None if not said."""

    name: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] | None = None
    tenant: str | None = None
    profile: str | None = None
    expires_in_days: int | None = None


class KeyAdmin:
    """Changes API keys.

    Args:
        forget: told of each key that is taken back.
    """

    def __init__(
        self, store: KeyStore, revocations: Revocations, pepper: bytes, forget: Callable[[str], object]
    ) -> None:
        self._store, self._revocations, self._pepper, self._forget = store, revocations, pepper, forget

    async def create(self, by: Principal, new: NewKey) -> tuple[ApiKey, StoredKey]:
        """Make a key, which is to be seen only now. Keys of one name and tenant are of the same principal.

        Raises:
            InvalidOrder: who makes it does not have what the key is to allow.
            Conflict: there are too many keys, or the principal exists and is other than said.
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self._store.changing() as change:
            tenant = by.tenant if new.tenant is None else new.tenant
            issuer = f"api-keys:{tenant}"
            of = await _principal(change, principal_id(issuer, new.name), new, tenant)
            check_grant(by, of)
            return await self._add(change, by.id, issuer, of, new)

    async def create_first_admin(self, name: str) -> ApiKey:
        """Make a key that may do everything, for who has the database; only while no key allows `admin`.

        Raises:
            Conflict: one does.
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self._store.changing() as change:
            if await change.count_admins():
                detail = "there is a key with the scope admin: make others with it (POST /api/v1/api-keys)"
                raise Conflict("admin-exists", detail)
            issuer = "api-keys:"
            new = NewKey(name, frozenset(Scope))
            of = await _principal(change, principal_id(issuer, name), new, "")
            return (await self._add(change, audit.OPERATOR, issuer, of, new))[0]

    async def page(self, by: Principal, after: str, limit: int) -> tuple[list[StoredKey], str | None]:
        """Keys that are there for an administrator, in the order of their ids, and where the next page begins.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        found = await self._store.page(by.tenant or None, after, limit + 1)
        page = found[:limit]
        shown = [each for each in page if may_administer(by, each.principal)]
        return shown, page[-1].id if len(found) > limit else None

    async def revoke(self, by: Principal, key_id: str) -> None:
        """Take a key back: at once here, within a second where messages are heard, in 20 s everywhere.

        Raises:
            UnknownApiKey: there is no such key for this administrator, or it was taken back already.
            StoreUnavailable: Postgres cannot be reached.
        """
        async with self._store.changing() as change:
            key = await change.find(key_id) if api_keys.is_key_id(key_id) else None
            if key is None or key.revoked_at is not None or not may_administer(by, key.principal):
                raise UnknownApiKey(key_id)
            await change.revoke(key_id)
            await change.audit_log.add(by.id, "api-key.revoke", key_id, audit.told(_facts(key)), None)
        self._forget(key_id)
        try:
            await self._revocations.tell(key_id)
        except StoreUnavailable as error:
            log.warning("revocation not told", extra={"key": key_id, "detail": str(error)})

    async def _add(
        self, change: KeyChange, by: str, issuer: str, of: Principal, new: NewKey
    ) -> tuple[ApiKey, StoredKey]:
        if await change.count() >= MOST_KEYS:
            raise Conflict("too-many-api-keys", f"there are {MOST_KEYS} API keys already; take back what nobody uses")
        key = api_keys.make(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
        now = datetime.now(UTC)
        expires = None if new.expires_in_days is None else now + timedelta(days=new.expires_in_days)
        stored = StoredKey(key.id, new.name, of, hmac_of(key, self._pepper), now, expires)
        await change.add(issuer, stored)
        await change.audit_log.add(by, "api-key.create", key.id, None, audit.told(_facts(stored)))
        return key, stored


async def _principal(change: KeyChange, id_: str, new: NewKey, tenant: str) -> Principal:
    """Whom a key is to be of: who exists stays as they are, or old keys would get other rights."""
    known = await change.principal(id_)
    said = {"models": new.models, "profile": new.profile}
    if known is None:
        return Principal(id_, new.scopes, new.models or ("*",), tenant, new.profile or "")
    for name, value in said.items():
        if value is not None and value != getattr(known, name):
            other = f"{new.name!r} has keys with other {name} ({getattr(known, name)!r})"
            raise Conflict("other-principal", f"{other}: leave it out, or take another name")
    return dataclasses.replace(known, scopes=new.scopes)


def _facts(key: StoredKey) -> dict[str, object]:
    """What the audit log tells of a key."""
    of = key.principal
    return {
        "principal": of.id,
        "name": key.name,
        "scopes": sorted(of.scopes),
        "models": list(of.models),
        "tenant": of.tenant,
        "profile": of.profile,
        "expires_at": key.expires_at and key.expires_at.isoformat(),
    }
