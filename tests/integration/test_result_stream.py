"""The result stream and the rows it becomes: committed before acknowledged, stored once, poison isolated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from persister.database import Database
from persister.partitions import months_from
from persister.persister import Persister
from persister.rows import COLUMNS, Row
from persister.settings import PersisterSettings
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.postgres.errors import RowRejected
from shared.service.liveness import Liveness
from shared.streams.redis_client import connect
from shared.streams.result_stream import READ_BYTES, Persisted, ResultStream
from tests import gateways
from tests.access import environment_of, shard_of
from tests.streams import MODEL, VERSION, Redis, finished, new_request, publish, spoil, stream
from tests.waiting import eventually

pytestmark = pytest.mark.every_server

STORED = (
    "SELECT p.id::text, m.name AS model, v.version, p.status, p.error, p.attempt, p.input_data::text, p.output_data, "
    "p.completed_at FROM predictions p JOIN model_versions v ON v.id = p.model_version_id JOIN models m "
    "ON m.id = v.model_id ORDER BY p.id"
)


@pytest.fixture
def settings(environment: dict[str, str]) -> PersisterSettings:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    return PersisterSettings(
        **values, read_block_ms=20, persist_max_wait_ms=0, claim_interval_ms=50, visibility_timeout_ms=300
    )


@pytest.fixture
async def store(settings: PersisterSettings) -> AsyncIterator[Database]:
    made = Database(settings)
    yield made
    await made.close()


def persister(settings: PersisterSettings, redis: Redis, keys: Keys, store: Database, name: str = "p1") -> Persister:
    return gateways.make_persister(settings, redis, keys, store, name)


async def compute(redis: Redis, keys: Keys, *texts: str) -> list[str]:
    """Publish and finish requests; their results wait to be stored."""
    ids = await publish(redis, keys, *texts)
    worker = stream(redis, keys, "w1")
    await worker.join()
    deliveries = (await worker.read(len(texts), 10)).deliveries
    await worker.complete([finished(each) for each in deliveries])
    return ids


async def run_until_empty(each: Persister, redis: Redis, keys: Keys) -> None:
    """Run a persister until the result stream is empty and nothing is pending, then stop it."""
    stop = asyncio.Event()
    task = asyncio.create_task(each.run(stop))

    async def empty() -> bool:
        groups = await redis.xinfo_groups(keys.results)
        return task.done() or not (await redis.xlen(keys.results) or sum(int(group["pending"]) for group in groups))

    await eventually(empty, "the result stream is empty")
    stop.set()
    await task


async def test_results_become_rows_and_leave_nothing_behind(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    ids = await compute(redis, keys, "a", "b", "Grüße 👋")
    service = persister(settings, redis, keys, store)
    await run_until_empty(service, redis, keys)
    rows = await database.fetch("SELECT id::text, status, input_data->>'text' AS text FROM predictions ORDER BY id")
    assert [(row["id"], row["status"], row["text"]) for row in rows] == [
        (ids[0], "succeeded", "a"),
        (ids[1], "succeeded", "b"),
        (ids[2], "succeeded", "Grüße 👋"),
    ]
    assert await redis.exists(*(keys.prediction(each) for each in ids)) == 0
    assert await redis.xinfo_consumers(keys.results, keys.PERSISTER_GROUP) == []
    assert service.unavailable is None


async def test_every_column_is_declared_with_its_type(database: asyncpg.Connection) -> None:
    """What `persister.rows` declares is what the migrations made; text stands for the bounded varchar."""
    declared = {name: await database.fetchval("SELECT $1::text::regtype::text", kind) for name, kind in COLUMNS.items()}
    columns = await database.fetch(
        "SELECT attname, replace(atttypid::regtype::text, 'character varying', 'text') FROM pg_attribute "
        "WHERE attrelid = 'predictions'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert {**declared, "model_version_id": "integer"} == {str(name): str(kind) for name, kind in columns}


async def test_a_result_that_comes_twice_is_stored_once_and_never_changed(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "a")
    ((_, fields),) = await redis.xrange(keys.results)
    await redis.xadd(keys.results, {**fields, b"result": b'{"label":"late twin"}'})
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    rows = await database.fetch("SELECT output_data->>'label' AS label FROM predictions")
    assert [row["label"] for row in rows] == ["A"]


async def test_a_later_attempt_changes_only_a_row_that_failed(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "fails first", "succeeds first")
    first, second = [fields for _, fields in await redis.xrange(keys.results)]
    failed = {**first, b"status": b"failed", b"error": b"died"}
    await redis.delete(keys.results)
    retried = {**first, b"attempt": b"1", b"result": b'{"label":"second try"}'}
    stale = {**second, b"attempt": b"1", b"result": b'{"label":"must not appear"}'}
    for fields in (failed, second, retried, stale):
        await redis.xadd(keys.results, fields)
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    rows = await database.fetch("SELECT attempt, status, output_data->>'label' AS label FROM predictions ORDER BY id")
    assert [tuple(row) for row in rows] == [(1, "succeeded", "second try"), (0, "succeeded", "A")]


async def test_a_stream_that_others_empty_meanwhile_is_read_as_empty(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = shard_of("persister", redis, keys)
    results = ResultStream(shard, "p1")
    await results.join()

    async def usage(*_: object, **__: object) -> int:
        return READ_BYTES + 1  # as it was before others had read and forgotten all of it

    monkeypatch.setattr(shard.redis, "memory_usage", usage)
    assert await results.read(10, 10) == []


async def test_the_state_of_a_later_attempt_survives(redis: Redis, keys: Keys) -> None:
    results = ResultStream(shard_of("persister", redis, keys), "p1")
    await results.join()
    prediction_id = new_request().id
    await redis.hset(keys.prediction(prediction_id), mapping={"attempt": "1"})
    await results.forget([Persisted("1-1", prediction_id, 0)])
    assert await redis.exists(keys.prediction(prediction_id)) == 1
    await results.forget([Persisted("1-1", prediction_id, 1)])
    assert await redis.exists(keys.prediction(prediction_id)) == 0


async def test_a_row_that_postgres_rejects_is_isolated_and_stored_as_failed(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    ids = await compute(redis, keys, "a", "b", "c", "d", "e")
    entries = await redis.xrange(keys.results)
    await redis.delete(keys.results)
    for number, (_, fields) in enumerate(entries):
        poisoned = {**fields, b"result": b'{"label":"\\u0000"}'} if number == 2 else fields
        await redis.xadd(keys.results, poisoned)
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    rows = await database.fetch("SELECT id::text, status, input_data::text, error FROM predictions ORDER BY id")
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "failed", "succeeded", "succeeded"]
    assert [row["id"] for row in rows] == ids
    assert rows[2]["input_data"] == "{}" and "could not be stored" in rows[2]["error"]
    ((_, dead),) = await redis.xrange(keys.dead)
    assert (dead[b"reason"], dead[b"id"].decode()) == (b"rejected_by_postgres", ids[2])
    assert await redis.exists(keys.prediction(ids[2])) == 0


async def test_a_result_that_cannot_be_decoded_is_dead_lettered_and_stops_nothing(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await redis.xadd(keys.results, {"schema": "99", "id": "nonsense", "error": "original error"})
    await compute(redis, keys, "a")
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    assert await database.fetchval("SELECT count(*) FROM predictions") == 1
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"reason"] == b"unknown_schema"
    assert dead[b"original_error"] == b"original error"


UNREADABLE: dict[str, tuple[dict[bytes, bytes | None], str]] = {  # what an entry has instead, and why it is refused
    "missing field": ({b"version": None}, "field 'version' is missing"),
    "no input": ({b"input": None}, "field 'input' is missing"),
    "empty input with options": ({b"input": b"", b"options": b'{"labels":["a"]}'}, "field 'input' is not JSON"),
    "bad JSON": ({b"result": b'{"label":'}, "field 'result' is not JSON"),
    "no JSON object": ({b"result": b"[]"}, "field 'result' is not a JSON object"),
    "unknown schema": ({b"schema": b"99"}, "schema 99 is unknown"),
    "bad status": ({b"status": b"half-done"}, "field 'status' is 'half-done'"),
    "broken unicode": ({b"principal": b"\xff\xfe"}, "field 'principal' is not UTF-8"),
    "broken unicode in a name": ({b"model": b"\xff\xfe", b"worker": b"\xff"}, "field 'model' is not UTF-8"),
    "confidence out of range": ({b"confidence": b"1.5"}, "field 'confidence' is not between 0 and 1"),
    "no time": ({b"completed_at": b"yesterday"}, "field 'completed_at' is not a whole number"),
    "a time that is none": ({b"completed_at": b"9" * 18}, "field 'completed_at' is not a whole number from 0 to"),
    "an attempt that no column holds": ({b"attempt": b"9999999999"}, "field 'attempt' is not a whole number from 0 to"),
    "everything wrong": (
        dict.fromkeys((b"model", b"version", b"attempt", b"input", b"options", b"completed_at"), b"\xff"),
        "field 'input' is not JSON",
    ),
}
REJECTED: dict[str, dict[bytes, bytes | None]] = {  # it can be read, but Postgres will not have it
    "overlong model": {b"model": b"m" * 101},
    "overlong version": {b"version": b"1" * 21},
    "overlong principal": {b"principal": b"p" * 201},
    "no model": {b"model": b""},
    "NUL in a name": {b"model": b"e\0cho"},
    "NUL in the input": {b"input": b'{"text":"\\u0000"}'},
    "a duration that no column holds": {b"processing_time_ms": b"9999999999"},
    "both unreadable and rejected": {b"status": b"\0", b"model": b"m" * 101, b"input": b'{"text":"\\u0000"}'},
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_result_that_cannot_be_read_ends_failed_and_says_why(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection, name: str
) -> None:
    changes, why = UNREADABLE[name]
    spoilt, good = await compute(redis, keys, "spoilt", "good")
    await spoil(redis, keys, spoilt, changes)
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    rows = {row["id"]: row for row in await database.fetch(STORED)}
    assert rows.keys() == {spoilt, good}
    assert rows[good]["status"] == "succeeded"
    row = rows[spoilt]
    assert (row["status"], row["attempt"], row["output_data"]) == ("failed", 0, None)
    assert row["error"].startswith(f"the result could not be read: {why}")
    known = {b"model", b"version"} - changes.keys()
    assert (row["model"], row["version"]) == (
        MODEL if b"model" in known else "unreadable",
        VERSION if b"version" in known else "unreadable",
    )
    assert (row["input_data"] == '{"text": "spoilt"}') == (b"input" not in changes)
    assert abs((row["completed_at"] - datetime.now(UTC)).total_seconds()) < 60
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"id"].decode() == spoilt
    assert await redis.exists(*(keys.prediction(each) for each in (spoilt, good))) == 0


@pytest.mark.parametrize("name", REJECTED)
async def test_a_result_that_postgres_rejects_in_whatever_field_ends_failed(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection, name: str
) -> None:
    spoilt, good = await compute(redis, keys, "spoilt", "good")
    await spoil(redis, keys, spoilt, REJECTED[name])
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    rows = {row["id"]: row for row in await database.fetch(STORED)}
    assert (rows[spoilt]["status"], rows[good]["status"]) == ("failed", "succeeded")
    assert "the result could not be" in rows[spoilt]["error"]
    assert await redis.xlen(keys.dead) == 1
    assert await redis.exists(*(keys.prediction(each) for each in (spoilt, good))) == 0
    assert await database.fetchval("SELECT count(*) FROM models WHERE length(name) > 50 OR name = ''") == 0
    names = [row["name"] for row in await database.fetch("SELECT name FROM models m")]
    assert set(names) <= {"echo", "noop", "labels", "unreadable"}  # nothing is left of a version that was rejected


async def test_a_later_attempt_replaces_a_result_that_could_not_be_read(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "a")
    ((_, fields),) = await redis.xrange(keys.results)
    await redis.delete(keys.results)
    for attempt, status, stands in ((0, b"?", 0), (2, b"?", 2), (1, b"succeeded", 2), (3, b"succeeded", 3)):
        await redis.xadd(keys.results, {**fields, b"attempt": str(attempt).encode(), b"status": status})
        await run_until_empty(persister(settings, redis, keys, store), redis, keys)
        assert [row["attempt"] for row in await database.fetch(STORED)] == [stands]
    assert [row["status"] for row in await database.fetch(STORED)] == ["succeeded"]


async def test_a_result_for_which_no_row_can_be_stored_stops_nothing(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    spoilt, good = await compute(redis, keys, "spoilt", "good")
    await spoil(redis, keys, spoilt, {b"status": b"?"})
    await database.execute("ALTER TABLE predictions ADD CHECK (status <> 'failed')")
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    assert [row["id"] for row in await database.fetch(STORED)] == [good]
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"id"].decode() == spoilt and dead[b"status"] == b"?"


async def test_an_outage_makes_no_second_dead_letter_of_the_same_result(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt, other = await compute(redis, keys, "spoilt", "other")
    for each in (spoilt, other):
        await spoil(redis, keys, each, {b"status": b"?"})
    failures = {"dead_letter": 2, "forget": 2, "insert": 2}

    def fails_first(owner: type, name: str) -> None:
        answer = getattr(owner, name)

        async def call(*arguments: Any) -> Any:
            if failures[name] and (name != "dead_letter" or await redis.xlen(keys.dead)):
                failures[name] -= 1
                raise StoreUnavailable("redis")
            return await answer(*arguments)

        monkeypatch.setattr(owner, name, call)

    fails_first(ResultStream, "dead_letter")
    fails_first(ResultStream, "forget")
    fails_first(Database, "insert")
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    assert not any(failures.values())
    assert [fields[b"id"].decode() for _, fields in await redis.xrange(keys.dead)] == [spoilt, other]


async def test_a_batch_with_many_rows_to_reject_is_not_taken_for_stuck(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await compute(redis, keys, *"abcdefgh")
    for each in ids:
        await spoil(redis, keys, each, {b"result": b'{"label":"\\u0000"}'})
    now_s, stalled, insert = [0.0], {}, Database.insert
    liveness = Liveness(30, lambda: now_s[0])

    async def takes_20_s(database: Database, rows: Sequence[Row]) -> None:
        now_s[0] += 20
        stalled.update(liveness.stalled())
        await insert(database, rows)

    monkeypatch.setattr(Database, "insert", takes_20_s)
    await run_until_empty(gateways.make_persister(settings, redis, keys, store, "p1", liveness), redis, keys)
    assert now_s[0] > 300 and stalled == {}


async def test_a_dead_persisters_results_are_stored_by_another(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    ids = await compute(redis, keys, "a", "b")
    dead = ResultStream(shard_of("persister", redis, keys), "dead")
    await dead.join()
    assert len(await dead.read(10, 10)) == 2
    await run_until_empty(persister(settings, redis, keys, store, "alive"), redis, keys)
    assert await database.fetchval("SELECT count(*) FROM predictions WHERE id = ANY($1::uuid[])", ids) == 2


async def test_the_consumer_of_a_dead_persister_is_removed_once_it_holds_nothing(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database
) -> None:
    await compute(redis, keys, "a")
    dead, empty_handed = (ResultStream(shard_of("persister", redis, keys), name) for name in ("dead", "empty-handed"))
    await dead.join()
    assert len(await dead.read(10, 0)) == 1
    await empty_handed.read(10, 0)
    assert await dead.remove_idle(60_000) == 0  # what has just read is alive
    stop = asyncio.Event()
    task = asyncio.create_task(persister(settings, redis, keys, store, "living").run(stop))

    async def no_dead() -> bool:  # before Redis 7.2 one who reads in vain is idle too: the living may remove itself
        return {each["name"] for each in await redis.xinfo_consumers(keys.results, "persister")} <= {b"living"}

    await eventually(no_dead, "dead consumers are gone")
    stop.set()
    await task
    assert await redis.xlen(keys.results) == 0


async def test_the_consumer_of_a_persister_that_holds_results_is_kept(redis: Redis, keys: Keys) -> None:
    await compute(redis, keys, "a")
    holding, living = (ResultStream(shard_of("persister", redis, keys), name) for name in ("holding", "living"))
    await living.join()
    assert len(await holding.read(10, 0)) == 1
    await redis.xgroup_createconsumer(keys.results, keys.PERSISTER_GROUP, "empty-handed")
    assert await living.remove_idle(0) == 1
    assert {each["name"] for each in await redis.xinfo_consumers(keys.results, "persister")} == {b"holding"}
    await holding.leave()  # neither does it remove itself
    assert len(await living.claim(0, 10)) == 1


async def test_an_unknown_version_is_added_inactive(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "a")
    ((entry, fields),) = await redis.xrange(keys.results)
    await redis.xdel(keys.results, entry)
    await redis.xadd(keys.results, {**fields, b"model": b"retired", b"version": b"0.1"})
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    row = await database.fetchrow(
        "SELECT v.is_active, p.status FROM predictions p JOIN model_versions v ON v.id = p.model_version_id "
        "JOIN models m ON m.id = v.model_id WHERE m.name = 'retired' AND v.version = '0.1'"
    )
    assert tuple(row) == (False, "succeeded")


async def test_nothing_is_acknowledged_while_postgres_is_away(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    service = persister(settings, redis, keys, store)
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    await eventually(lambda: service.unavailable is None, "it runs")
    await database.execute("ALTER TABLE predictions RENAME TO hidden")
    ids = await compute(redis, keys, "a", "b")
    await eventually(lambda: service.unavailable is not None, "the outage is noticed, with the batch in hand")
    assert await redis.xlen(keys.results) == 2
    assert (await redis.xpending(keys.results, keys.PERSISTER_GROUP))["pending"] > 0
    assert await redis.exists(*(keys.prediction(each) for each in ids)) == 2
    assert service.unavailable is not None and "postgres" in service.unavailable
    await database.execute("ALTER TABLE hidden RENAME TO predictions")

    async def stored() -> bool:
        return bool(await redis.xlen(keys.results) == 0)

    await eventually(stored, "everything is stored")
    stop.set()
    await task
    assert await database.fetchval("SELECT count(*) FROM predictions") == 2


async def test_a_stop_waits_for_the_batch_in_hand(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    service = persister(settings, redis, keys, store)
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    await eventually(lambda: service.unavailable is None, "it runs")
    await database.execute("ALTER TABLE predictions RENAME TO hidden")
    await compute(redis, keys, "a")
    await eventually(lambda: service.unavailable is not None, "the outage is noticed, with the batch in hand")
    stop.set()
    await database.execute("ALTER TABLE hidden RENAME TO predictions")
    async with asyncio.timeout(10):
        await task
    assert await redis.xlen(keys.results) == 0
    assert await database.fetchval("SELECT count(*) FROM predictions") == 1


async def test_a_batch_that_is_not_full_waits_for_more(
    redis: Redis, keys: Keys, environment: dict[str, str], store: Database
) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    patient = PersisterSettings(**values, persist_max_wait_ms=300, read_block_ms=20)
    service = persister(patient, redis, keys, store)
    results = ResultStream(shard_of("persister", redis, keys), "p1")
    await results.join()
    await compute(redis, keys, "a")
    batch = asyncio.create_task(service._next_batch())

    async def first_read() -> bool:
        return bool((await redis.xpending(keys.results, keys.PERSISTER_GROUP))["pending"] == 1)

    await eventually(first_read, "the first result is read")
    await compute(redis, keys, "b")
    assert len(await batch) == 2


async def test_a_read_of_results_waits_for_the_first_or_not_at_all(redis: Redis, keys: Keys) -> None:
    results = ResultStream(shard_of("persister", redis, keys), "p1")
    await results.join()
    async with asyncio.timeout(20):
        assert await results.read(10, 0) == []
        reading = asyncio.create_task(results.read(10, 4000))

        async def waits() -> bool:
            assert not reading.done()
            return bool((await redis.info("clients"))["blocked_clients"])

        await eventually(waits, "it waits in Redis")
        await compute(redis, keys, "a")
        assert len(await reading) == 1


async def test_the_result_streams_group_heals(redis: Redis, keys: Keys) -> None:
    results = ResultStream(shard_of("persister", redis, keys), "p1")
    assert await results.read(1, 10) == []  # makes it
    await redis.delete(keys.results)
    assert await results.claim(0, 1) == []  # makes it anew
    await redis.delete(keys.results)
    assert await results.remove_idle(1) == 0
    await results.leave()
    await compute(redis, keys, "a")
    assert await results.read(1, 10) == []
    assert len(await results.read(1, 10)) == 1


async def test_a_redis_that_is_away_is_named(keys: Keys, settings: PersisterSettings) -> None:
    client = connect(settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")}))
    results = ResultStream(shard_of("persister", client, keys), "p1")
    for call in (results.join(), results.read(1, 1), results.claim(1, 1), results.forget([]), results.leave()):
        with pytest.raises(StoreUnavailable):
            await call
    await client.aclose()


async def test_partitions_are_made_ahead_and_rows_go_into_them(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    service = persister(settings, redis, keys, store)
    now = datetime.now(UTC)
    for _ in range(2):  # doing it again is harmless
        await service.make_partitions(now)
    wanted = {f"predictions_{each:%Y_%m}" for each in months_from(now, settings.partition_months_ahead)}
    there = {row[0] for row in await database.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'predictions_2%'")}
    assert wanted <= there
    await compute(redis, keys, "a")
    await run_until_empty(service, redis, keys)
    assert await database.fetchval("SELECT count(*) FROM predictions_default") == 0
    assert await database.fetchval(f"SELECT count(*) FROM predictions_{now:%Y_%m}") == 1


async def test_persisters_that_make_a_partition_at_once_do_not_mind_each_other(
    settings: PersisterSettings, database: asyncpg.Connection
) -> None:
    stores = [Database(settings) for _ in range(4)]
    for first_day in months_from(datetime.now(UTC), 6):
        await asyncio.gather(*(each.make_partition(first_day) for each in stores))
    for each in stores:
        await each.close()
    made = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'predictions'::regclass"
    assert await database.fetchval(made) == 7 + 1  # and the default one


async def test_a_month_already_in_the_default_partition_is_said_and_served(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await gateways.store(database, 1, "echo", "1.0.0")
    assert await database.fetchval("SELECT count(*) FROM predictions_default") == 1
    first, *_ = months_from(datetime.now(UTC), 1)
    with pytest.raises(RowRejected):
        await store.make_partition(first)
    await compute(redis, keys, "a")
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    assert await database.fetchval("SELECT count(*) FROM predictions") == 2


async def test_the_first_result_goes_into_its_partition(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "a")  # it waits before a persister ever ran
    await run_until_empty(persister(settings, redis, keys, store), redis, keys)
    assert await database.fetchval("SELECT count(*) FROM predictions_default") == 0


async def test_partitions_are_kept_until_the_stop(
    redis: Redis, keys: Keys, settings: PersisterSettings, store: Database, database: asyncpg.Connection
) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(persister(settings, redis, keys, store).keep_partitions(stop))
    count = "SELECT count(*) FROM pg_class WHERE relname LIKE 'predictions_2%' AND relkind = 'r'"

    async def made() -> bool:
        return int(await database.fetchval(count)) == settings.partition_months_ahead + 1

    await eventually(made, "all partitions are made")
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_a_postgres_that_is_away_is_named(settings: PersisterSettings) -> None:
    secret = type(settings.database_url)
    away = settings.model_copy(update={"database_url": secret("postgresql://nobody:secret@127.0.0.1:1/x")})
    with pytest.raises(StoreUnavailable, match="postgres cannot be reached") as error:
        await Database(away).insert([])
    assert "secret" not in str(error.value)
