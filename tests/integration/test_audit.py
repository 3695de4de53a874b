"""The audit log: written with each change, in one chain over all gateways, and what was tampered with is found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.control import verify_audit
from gateway.control.key_admin import KeyAdmin, NewKey
from gateway.control.key_store import KeyChange, KeyStore
from gateway.control.verify_audit import check
from gateway.core.principal import Principal, Scope
from shared.contract.audit import FIRST, Chain
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.service.settings import DatabaseSettings
from shared.streams.revocations import Revocations
from shared.streams.shard import Shard
from tests.access import database_url_of

ROOT = Principal(principal_id("test", "root"), frozenset(Scope))
PEPPER = b"pepper" * 6
READ = frozenset({Scope.READ})


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[KeyStore]:
    found = KeyStore(DatabaseSettings(database_url=database_url))
    yield found
    await found.close()


@pytest.fixture
def admin(store: KeyStore, redis: Redis, keys: Keys) -> KeyAdmin:
    return KeyAdmin(store, Revocations(Shard(redis, keys)), PEPPER, lambda _: None)


async def filled(admin: KeyAdmin) -> None:
    """Six entries: keys made, and one taken back."""
    made = [(await admin.create(ROOT, NewKey(str(number), READ)))[0] for number in range(5)]
    await admin.revoke(ROOT, made[0].id)


async def test_each_change_has_its_entry(admin: KeyAdmin, store: KeyStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = await admin.create_first_admin("root")
    key, _ = await admin.create(ROOT, NewKey("batch", READ))
    await admin.revoke(ROOT, key.id)
    entries = await store.audit_log(0, 10)
    assert [(each.number, each.principal, each.action, each.target) for each, _ in entries] == [
        (1, "operator", "api-key.create", first.id),
        (2, ROOT.id, "api-key.create", key.id),
        (3, ROOT.id, "api-key.revoke", key.id),
    ]
    assert '"name":"batch"' in str(entries[1][0].after) and entries[1][0].before is None
    assert entries[2][0].before == entries[1][0].after and entries[2][0].after is None
    assert await check(store, None) == (3, entries[-1][1], "")
    told = [vars(each) for each in caplog.records if each.message == "audited"]
    assert [(each["number"], each["digest"]) for each in told] == [
        (each.number, digest.hex()) for each, digest in entries
    ]


async def test_what_is_not_done_leaves_no_entry(admin: KeyAdmin, store: KeyStore, database: asyncpg.Connection) -> None:
    await database.execute("ALTER TABLE audit_log ADD CONSTRAINT none CHECK (false)")
    with pytest.raises(Exception, match="audit_log"):
        await admin.create(ROOT, NewKey("batch", READ))
    assert await database.fetchval("SELECT count(*) FROM api_keys") == 0
    assert await store.audit_log(0, 10) == []


async def test_many_at_once_make_one_chain(admin: KeyAdmin, store: KeyStore) -> None:
    await asyncio.gather(*(admin.create(ROOT, NewKey(str(number), READ)) for number in range(20)))
    number, _, problem = await check(store, None)
    assert (number, problem) == (20, "")


TAMPERED = {
    "another did it": ("UPDATE audit_log SET principal = 'operator' WHERE number = 3", "entry 3 .* was changed"),
    "it was another": ("UPDATE audit_log SET target = 'x' WHERE number = 2", "entry 2 .* was changed"),
    "it was later": (
        "UPDATE audit_log SET at = at + interval '1 microsecond' WHERE number = 6",
        "entry 6 .* was changed",
    ),
    "other rights": ("UPDATE audit_log SET after = replace(after, 'read', 'admin') WHERE number = 4", "entry 4"),
    "a digest": ("UPDATE audit_log SET digest = sha256('x') WHERE number = 1", "entry 1"),
    "it never was": ("DELETE FROM audit_log WHERE number = 3", "entry 3 is missing: entry 4 follows 2"),
    "the first": ("DELETE FROM audit_log WHERE number = 1", "entry 1 is missing"),
    "exchanged": (
        "UPDATE audit_log SET number = CASE number WHEN 2 THEN 102 ELSE 2 END WHERE number IN (2, 3); "
        "UPDATE audit_log SET number = 3 WHERE number = 102",
        "entry 2",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_what_was_tampered_with_is_found(
    admin: KeyAdmin, store: KeyStore, database: asyncpg.Connection, name: str
) -> None:
    await filled(admin)
    statement, said = TAMPERED[name]
    await database.execute(statement)
    _, _, problem = await check(store, None)
    assert re.match(said, problem), problem


async def test_an_end_that_was_cut_off_is_found_by_a_digest_that_was_kept(
    admin: KeyAdmin, store: KeyStore, database: asyncpg.Connection
) -> None:
    await filled(admin)
    number, digest, problem = await check(store, None)
    assert (number, problem) == (6, "")
    assert (await check(store, (6, digest)))[2] == ""
    await admin.create(ROOT, NewKey("more", READ))
    assert (await check(store, (6, digest)))[2] == ""
    await database.execute("DELETE FROM audit_log WHERE number > 5")
    assert (await check(store, None))[2] == ""
    assert (await check(store, (6, digest)))[2] == "entry 6 is missing: the log ends with 5"
    await admin.create(ROOT, NewKey("instead", READ))
    assert (await check(store, (6, digest)))[2] == "entry 6 is another than the one whose digest was kept"


async def test_a_long_log_is_read_in_pieces(store: KeyStore, monkeypatch: pytest.MonkeyPatch, admin: KeyAdmin) -> None:
    monkeypatch.setattr(verify_audit, "AT_ONCE", 2)
    await filled(admin)
    assert (await check(store, None))[0] == 6


def test_an_empty_log_is_whole() -> None:
    chain = Chain()
    assert chain.problem([]) == "" and (chain.number, chain.digest) == (0, FIRST)


async def test_an_entry_is_read_as_it_was_written(store: KeyStore) -> None:
    """Text that JSON, Postgres or a digest might write in another way."""
    told: list[Any] = ["p_x", "action", 'ünï"\\', '{"b": 1.0,  "a": "\\u00e9"}', "null"]
    async with store.changing() as change:
        assert isinstance(change, KeyChange)
        await change.audit_log.add(*told)
    ((entry, digest),) = await store.audit_log(0, 10)
    assert list(entry[2:7]) == told and entry.digest(FIRST) == digest


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET outcome = 'x'", "DELETE FROM audit_log", "DELETE FROM api_keys"]
)
async def test_the_gateway_may_write_no_entry_anew(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url_of("gateway", database_url))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()
