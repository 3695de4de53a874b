"""Erasing what callers have sent: wherever it is, whatever it does meanwhile, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from gateway.control.experiments.assignment import subject_id
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR
from persister import eraser, erasure_store
from persister.database import Database
from persister.eraser import Eraser
from persister.erasure_store import ErasureStore
from persister.settings import PersisterSettings
from scripts.stack.redis import RedisServer
from shared.contract.audit import Chain, Entry
from shared.contract.ids import first_id_at, principal_id, uuid7
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.streams.erasing import Erasing
from shared.streams.publishing import Group, Publisher
from shared.streams.result_cache import ALL_TENANTS
from tests.access import database_url_of, shard_of
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything, persisting
from tests.streams import ACCEPTED, LIMITS, new_request
from tests.waiting import eventually

ANN, BOB = principal_id("test", "ann"), principal_id("test", "bob")
LEASE = timedelta(seconds=60)


class ByName:
    """Believes whatever name it is told; who tells none is an administrator."""

    async def authenticate(self, authorization: str | None) -> Principal:
        if authorization is None:
            return Principal("p_admin", frozenset(Scope))
        return Principal(principal_id("test", authorization), frozenset({Scope.PREDICT, Scope.READ}))


@pytest.fixture
async def gateway(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> Client:
    client = await start_gateway()
    monkeypatch.setattr(application_of(client)[AUTHENTICATOR], "authenticate", ByName().authenticate)
    return client


class Persisters:
    """What a persister has for erasing."""

    def __init__(self, redis: Redis, keys: Keys, database_url: str, lease: timedelta) -> None:
        settings = PersisterSettings(database_url=database_url_of("persister", database_url))
        self.database = Database(settings)
        self.store = ErasureStore(self.database.postgres, lease)
        self.erasing = Erasing(shard_of("persister", redis, keys), "eraser")
        self.eraser = Eraser(self.store, self.erasing, Liveness(30))

    async def erase_one(self) -> bool:
        return await self.eraser.erase_one(asyncio.Event())


@pytest.fixture
async def persister(redis: Redis, keys: Keys, database_url: str) -> AsyncIterator[Persisters]:
    found = Persisters(redis, keys, database_url, LEASE)
    yield found
    await found.database.close()


async def submit(gateway: Client, name: str, text: str, **body: str) -> str:
    given = {"model": "echo", "text": text, **body}
    async with gateway.post("/api/v1/predict?wait=0", json=given, headers={"Authorization": name}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["prediction_id"])


async def erase(gateway: Client, **which: str) -> str:
    async with gateway.delete("/api/v1/predictions", params=which) as answer:
        assert answer.status == 202, await answer.text()
        body = await answer.json()
        assert answer.headers["Location"] == f"/api/v1/erasures/{body['erasure_id']}"
        return str(body["erasure_id"])


async def told(gateway: Client, erasure_id: str) -> dict[str, Any]:
    async with gateway.get(f"/api/v1/erasures/{erasure_id}") as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def streams(redis: Any, keys: Keys) -> list[dict[bytes, bytes]]:
    """All entries of all streams."""
    names = [key async for key in redis.scan_iter(f"{keys.prefix}*", _type="stream")]
    return [fields for key in names for _, fields in await redis.xrange(key)]


async def rows(database: asyncpg.Connection) -> list[str]:
    """The texts that are stored."""
    return [each["text"] for each in await database.fetch("SELECT input_data->>'text' AS text FROM predictions")]


class Everywhere:
    """Predictions of two callers in every place where one can be."""

    def __init__(self, gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str) -> None:
        self.gateway, self.worker, self.redis, self.keys = gateway, worker, redis, keys
        self.database_url = database_url

    async def make(self) -> list[tuple[Any, Any]]:
        """Make them; the answer is what the worker holds."""
        both = ("ann", "bob")
        for name in both:
            await submit(self.gateway, name, f"stored of {name}")
        await self.worker.finish(await self.worker.take(2))
        await persist_everything(self.redis, self.keys, self.database_url)
        for name in both:
            await submit(self.gateway, name, f"dead of {name}")
        for delivery, _ in await self.worker.take(2):
            await self.worker.stream.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "it kills workers")
        for name in both:
            await submit(self.gateway, name, f"finished of {name}")
        await self.worker.finish(await self.worker.take(2))
        for name in both:
            await submit(self.gateway, name, f"running of {name}")
        held = await self.worker.take(2)
        for name in both:
            await submit(self.gateway, name, f"waiting of {name}")
        return held


@pytest.fixture
def everywhere(gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str) -> Everywhere:
    return Everywhere(gateway, worker, redis, keys, database_url)


async def test_what_a_caller_has_sent_goes_wherever_it_is_and_nothing_of_another(
    everywhere: Everywhere, persister: Persisters, redis: Any, keys: Keys, database: asyncpg.Connection
) -> None:
    held = await everywhere.make()
    erasure_id = await erase(everywhere.gateway, principal=ANN)
    assert (await told(everywhere.gateway, erasure_id))["state"] == "running"
    async with persisting(redis, keys, everywhere.database_url):
        assert await persister.erase_one()
    assert await everywhere.worker.finish(held) == [False, True], "what runs is over too"
    found = await told(everywhere.gateway, erasure_id)
    numbers = {name: found[name] for name in ("state", "predictions", "requests", "dead_letters", "waiting", "note")}
    assert numbers == {
        "state": "done",
        "predictions": 5,  # the stored one, the dead one, the finished one, and the two that were ended
        "requests": 2,
        "dead_letters": 1,
        "waiting": 0,
        "note": "",
    }
    assert found["principal"] == ANN and found["finished_at"]
    await persist_everything(redis, keys, everywhere.database_url)
    assert sorted(await rows(database)) == [f"{each} of bob" for each in ("dead", "finished", "running", "stored")]
    assert {fields[b"principal"] for fields in await streams(redis, keys)} == {BOB.encode()}
    assert [fields[b"principal"] async for fields in states(redis, keys)] == [BOB.encode()]
    assert await redis.hget(keys.cache_generations, ALL_TENANTS) == b"1"
    assert not await persister.erase_one(), "there is no other"


async def test_who_asked_for_it_and_what_came_of_it_stands_in_the_audit_log(
    gateway: Client, persister: Persisters, database: asyncpg.Connection
) -> None:
    await insert(database, 3, ANN)
    erasure_id = await erase(gateway, principal=ANN, before="2030-01-01T00:00:00Z")
    assert await persister.erase_one()
    entries = await database.fetch("SELECT principal, action, target, after, digest FROM audit_log ORDER BY number")
    assert [tuple(each)[:3] for each in entries] == [
        ("p_admin", "erasure.request", erasure_id),
        ("p_admin", "erasure.finish", erasure_id),
    ]
    asked, found = (orjson.loads(each["after"]) for each in entries)
    assert asked == {"principal": ANN, "subject_id": None, "before": "2030-01-01T00:00:00+00:00"}
    assert found == {"predictions": 3, "requests": 0, "dead_letters": 0, "note": ""}
    chain, columns = Chain(), "number, at, principal, action, target, before, after, outcome, digest"
    rows = await database.fetch(f"SELECT {columns} FROM audit_log ORDER BY number")
    assert chain.problem((Entry(*list(each)[:-1]), each["digest"]) for each in rows) == ""


async def test_what_cannot_be_audited_is_not_asked_for(gateway: Client, database: asyncpg.Connection) -> None:
    await database.execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (number < 1)")
    async with gateway.delete(f"/api/v1/predictions?principal={ANN}") as answer:
        assert answer.status >= 500
    assert await database.fetchval("SELECT count(*) FROM erasures") == 0


async def states(redis: Any, keys: Keys) -> AsyncIterator[dict[bytes, bytes]]:
    async for key in redis.scan_iter(keys.prediction("*")):
        yield await redis.hgetall(key)


async def test_who_waits_for_what_is_erased_is_told(
    gateway: Client, worker: HandWorker, persister: Persisters, redis: Redis, keys: Keys, database_url: str
) -> None:
    body, headers = {"model": "echo", "text": "hello"}, {"Authorization": "ann"}
    waiting = asyncio.create_task(gateway.post("/api/v1/predict?wait=30", json=body, headers=headers).__aenter__())
    await worker.take()
    await erase(gateway, principal=ANN)
    async with persisting(redis, keys, database_url):
        await persister.erase_one()
    answer = await waiting
    assert answer.status == 409 and "an administrator has asked" in (await answer.json())["detail"]


async def test_what_was_accepted_before_goes_also_if_it_is_stored_later(
    gateway: Client, worker: HandWorker, persister: Persisters, redis: Any, keys: Keys, database_url: str
) -> None:
    """An erasure is not done as long as anything that it covers may still be stored."""
    prediction_id = await submit(gateway, "ann", "hello")
    await worker.serve_one()
    erasure_id = await erase(gateway, principal=ANN)
    later = await submit(gateway, "ann", "hello again")
    running = asyncio.create_task(persister.erase_one())

    async def is_noticed() -> bool:
        return bool((await told(gateway, erasure_id))["waiting"])

    await eventually(is_noticed, "the result that waits is seen")
    assert (await told(gateway, erasure_id))["state"] == "running" and not running.done()
    async with persisting(redis, keys, database_url):
        assert await running
    headers = {"Authorization": "ann"}
    for each, status in ((prediction_id, 404), (later, 200)):
        async with gateway.get(f"/api/v1/predictions/{each}", headers=headers) as answer:
            assert answer.status == status


async def test_what_a_frozen_process_stores_after_the_end_goes_at_the_next_look(
    gateway: Client, persister: Persisters, database: asyncpg.Connection
) -> None:
    await insert(database, 1, ANN)
    erasure_id = await erase(gateway, principal=ANN)
    assert await persister.erase_one() and not await persister.erase_one()
    first = (await told(gateway, erasure_id))["finished_at"]
    await insert(database, 2, ANN)
    await insert(database, 1, BOB)
    await database.execute("UPDATE erasures SET next_at = now()")
    assert await persister.erase_one()
    found = await told(gateway, erasure_id)
    assert (found["state"], found["predictions"]) == ("done", 3) and found["finished_at"] > first
    assert await owners(database) == [BOB]
    await database.execute("UPDATE erasures SET next_at = now()")
    assert await persister.erase_one()
    assert await database.fetchval("SELECT next_at > now() + interval '50 minutes' FROM erasures"), "an hour later"
    await database.execute("UPDATE erasures SET next_at = now(), finished_at = now() - interval '25 hours'")
    assert await persister.erase_one()
    assert await database.fetchval("SELECT next_at FROM erasures") is None, "and not after a day"


async def insert(
    database: asyncpg.Connection, count: int, principal: str, at: datetime | None = None, **more: Any
) -> list[UUID]:
    """Rows of one caller, accepted a minute ago unless said otherwise."""
    when = at or datetime.now(UTC) - timedelta(minutes=1)
    version = await database.fetchval(
        "SELECT min(v.id) FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = $1",
        more.pop("model", "echo"),
    )
    values = {"principal": principal, "model_version_id": version, "created_at": when, "completed_at": when, **more}
    names = ["id", "input_data", "status", *values]
    places = ", ".join(f"${number}" for number in range(2, len(values) + 2))
    query = f"INSERT INTO predictions ({', '.join(names)}) VALUES ($1, '{{}}', 'failed', {places})"
    ids = [UUID(uuid7(int(when.timestamp() * 1000), time.perf_counter_ns() + number)) for number in range(count)]
    await database.executemany(query, [(each, *values.values()) for each in ids])
    return ids


async def owners(database: asyncpg.Connection) -> list[str]:
    return [each["principal"] for each in await database.fetch("SELECT principal FROM predictions ORDER BY 1")]


async def test_filters_add_up(gateway: Client, persister: Persisters, database: asyncpg.Connection) -> None:
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    subjects = [subject_id(each) for each in ("x", "y")]
    for principal in (ANN, BOB):
        for at in (old, new):
            for subject in subjects:
                await insert(database, 1, principal, at, subject_id=subject)

    async def left(**which: str) -> int:
        await erase(gateway, **which)
        assert await persister.erase_one()
        return len(await owners(database))

    assert await left(principal=ANN, subject="x", before="2026-01-15T00:00:00Z") == 7
    assert await left(principal=ANN, before="2026-01-15T00:00:00Z") == 6
    assert await left(subject="x") == 3
    assert await left(subject="nobody") == 3
    assert await left(before="2025-12-31T23:59:59Z") == 3
    assert await left(before="2026-01-01T01:00:01+01:00") == 2
    assert await left(principal=ANN) == 1
    assert await owners(database) == [BOB]


async def test_copies_for_a_shadow_go_with_their_originals(
    gateway: Client,
    persister: Persisters,
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
) -> None:
    """A copy belongs to nobody, and was made a moment after its original."""
    now = datetime.now(UTC)
    (original,) = await insert(database, 1, ANN, now - timedelta(seconds=5))
    await insert(database, 1, "", now + timedelta(seconds=60), shadow_of=original, shadow_for=ANN)
    (other,) = await insert(database, 1, BOB)
    await insert(database, 1, "", shadow_of=other, shadow_for=BOB)
    copies = [
        new_request("copy")._replace(subject_id="s_1", shadow_of=str(original), shadow_for=ANN),
        new_request("kept")._replace(subject_id="s_1", shadow_of=str(other), shadow_for=BOB),
    ]
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    assert await publisher.publish("echo", "2.0.0", [Group([each]) for each in copies]) == [ACCEPTED] * 2
    erasure_id = await erase(gateway, principal=ANN)
    async with persisting(redis, keys, database_url):
        assert await persister.erase_one()
    assert (await told(gateway, erasure_id))["requests"] == 1
    left = await database.fetch("SELECT coalesce(shadow_for, principal) AS owner FROM predictions")
    assert [each["owner"] for each in left] == [BOB, BOB]
    assert [fields[b"shadow_for"] for fields in await streams(redis, keys)] == [BOB.encode()]


async def test_feedback_goes_with_its_prediction(
    gateway: Client, persister: Persisters, database: asyncpg.Connection
) -> None:
    hers, his = [(await insert(database, 1, each))[0] for each in (ANN, BOB)]
    for each in (hers, his):
        await database.execute("INSERT INTO feedback (prediction_id, correct) VALUES ($1, true)", each)
    await erase(gateway, principal=ANN)
    assert await persister.erase_one()
    assert await database.fetchval("SELECT array_agg(prediction_id) FROM feedback") == [his]


async def test_rows_go_a_batch_at_a_time_from_all_months(
    gateway: Client, persister: Persisters, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_store, "BATCH", 3)
    batches: list[int] = []
    delete = persister.store.delete_rows

    async def delete_rows(*args: Any) -> Any:
        ids = await delete(*args)
        batches.append(len(ids))
        return ids

    monkeypatch.setattr(persister.store, "delete_rows", delete_rows)
    for month in (1, 2, 3):
        await insert(database, 3, ANN, datetime(2026, month, 5, tzinfo=UTC))
        await insert(database, 3, BOB, datetime(2026, month, 5, tzinfo=UTC))
    await insert(database, 1, ANN)
    await erase(gateway, principal=ANN)
    assert await persister.erase_one()
    assert batches == [3, 3, 3, 1, 0, 0], "and once more, to see that nothing is left"
    assert await owners(database) == [BOB] * 9


async def test_of_two_persisters_one_takes_it_and_another_once_its_lease_is_over(
    gateway: Client, persister: Persisters, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    await insert(database, 2, ANN)
    erasure_id = await erase(gateway, principal=ANN)
    taken = await persister.store.take()
    assert taken and str(taken.erasure.id) == erasure_id and not taken.is_done
    await persister.store.delete_rows(taken.erasure, erasure_store.LOWEST)  # then it dies
    other = Persisters(redis, keys, database_url, LEASE)
    assert not await other.erase_one(), "it is not known that the first is dead"
    await insert(database, 1, ANN)
    await database.execute("UPDATE erasures SET next_at = next_at - interval '61 seconds'")
    assert await other.erase_one()
    found = await told(gateway, erasure_id)
    assert (found["state"], found["predictions"]) == ("done", 3)
    await other.database.close()


async def test_one_that_is_told_to_stop_leaves_it_to_others_at_once(
    gateway: Client, persister: Persisters, database: asyncpg.Connection
) -> None:
    await insert(database, 1, ANN)
    await erase(gateway, principal=ANN)
    stop = asyncio.Event()
    stop.set()
    assert not await persister.eraser.erase_one(stop)
    assert await persister.erase_one()
    assert await owners(database) == []


async def test_the_append_only_file_forgets_too(
    own_redis: RedisServer, keys: Keys, database_url: str, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what shares a node of a stream with entries that stay: Redis keeps the bytes of those in its memory."""
    gateway = await start_gateway(redis_url=own_redis.url.replace("redis://", "redis://gateway:gateway@"))
    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", ByName().authenticate)
    async with Redis.from_url(own_redis.url) as redis:
        worker = HandWorker(redis, keys)
        everywhere = Everywhere(gateway, worker, redis, keys, database_url)
        await everywhere.make()
        found = Persisters(redis, keys, database_url, LEASE)
        on_disk = [f"{each} of ann".encode() for each in ("stored", "dead", "finished", "running", "waiting")]
        assert all(each in content_of(own_redis) for each in on_disk)
        erasure_id = await erase(gateway, principal=ANN)
        async with persisting(redis, keys, database_url):
            assert await found.erase_one()
        assert (await told(gateway, erasure_id))["note"] == ""
        content = content_of(own_redis)
        assert b"of ann" not in content and ANN.encode() not in content.replace(f"limits:{ANN}".encode(), b"")
        assert b"dead of bob" in content and b"waiting of bob" in content
        await found.database.close()


def content_of(server: RedisServer) -> bytes:
    """All that a Redis has on its disk."""
    return b"".join(each.read_bytes() for each in server.directory.rglob("*") if each.is_file())


async def test_a_redis_that_may_not_rewrite_its_file_is_told_of(
    gateway: Client, persister: Persisters, redis: Any
) -> None:
    erasure_id = await erase(gateway, principal=ANN)
    await redis.execute_command("ACL", "SETUSER", "persister", "-bgrewriteaof")
    try:
        assert await persister.erase_one()
    finally:
        await redis.execute_command("ACL", "SETUSER", "persister", "+bgrewriteaof")
        await redis.execute_command("ACL", "LOG", "RESET")
    found = await told(gateway, erasure_id)
    assert found["state"] == "done"
    assert found["note"].startswith("the append-only file holds what was erased until Redis rewrites it: ")


async def test_a_rewrite_that_began_before_is_not_enough(
    gateway: Client, persister: Persisters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis rewrites its file already, it is asked again once that is over."""
    asked: list[bool] = []
    begin = persister.erasing.begin_rewrite

    async def begin_rewrite() -> bool:
        asked.append(True)
        return False if len(asked) == 1 else await begin()

    monkeypatch.setattr(persister.erasing, "begin_rewrite", begin_rewrite)
    await erase(gateway, principal=ANN)
    assert await persister.erase_one()
    assert len(asked) == 2


async def test_what_cannot_be_read_goes_if_it_was_added_before(
    gateway: Client, persister: Persisters, redis: Any, keys: Keys
) -> None:
    """A dead letter without an id that can be read is of whoever it says, and as old as its entry."""
    await redis.xadd(keys.dead, {"id": "?", "principal": ANN, "input": "a"})
    await redis.xadd(keys.dead, {"id": "?", "principal": BOB, "input": "b"})
    await asyncio.sleep(0.002)  # its entry and the erasure are not of the same millisecond
    await erase(gateway, principal=ANN)
    assert await persister.erase_one()
    assert [fields[b"input"] for fields in await streams(redis, keys)] == [b"b"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "needs `principal`, `subject` or `before`"),
        ("?principal=", "should have at least 1 character"),
        *(
            (f"?before={each}", "before: must be a time by RFC 3339")
            for each in ("yesterday", "0", "0.5", "1764000000", "2026-01-01")
        ),
        ("?before=2026-01-01T00:00:00", "must be a time by RFC 3339, with its zone"),
        ("?before=2026-01-01T00:00:00+01:00", "must be a time by RFC 3339"),  # a bare + is a space in a query
        ("?before=2026-13-01T00:00:00Z", "before"),
        ("?model=echo", "is no parameter of this path"),
    ],
)
async def test_what_would_erase_too_much_or_is_not_understood_is_refused(
    gateway: Client, database: asyncpg.Connection, query: str, said: str
) -> None:
    async with gateway.delete(f"/api/v1/predictions{query}") as answer:
        assert answer.status == 422 and said in (await answer.json())["detail"]
    assert await database.fetchval("SELECT count(*) FROM erasures") == 0


@pytest.mark.parametrize("before", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_time_at_the_ends_of_the_calendar_is_one(gateway: Client, persister: Persisters, before: str) -> None:
    erasure_id = await erase(gateway, before=before)
    assert await persister.erase_one()
    assert (await told(gateway, erasure_id))["state"] == "done"


@pytest.mark.parametrize("limited", [{"models": ("echo",)}, {"tenant": "red"}])
async def test_who_administers_only_a_part_may_not_erase(
    gateway: Client, monkeypatch: pytest.MonkeyPatch, limited: dict[str, Any]
) -> None:
    erasure_id = await erase(gateway, principal=ANN)

    async def authenticate(_: str | None) -> Principal:
        return Principal("p_part", frozenset(Scope), **limited)

    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    for method, path in (("DELETE", f"/api/v1/predictions?principal={BOB}"), ("GET", f"/api/v1/erasures/{erasure_id}")):
        async with gateway.request(method, path) as answer:
            assert answer.status == 403 and "for all models and tenants" in (await answer.json())["detail"]


@pytest.mark.parametrize("unknown", ["x", "0193a5b0-7c00-7abc-8def-0123456789ab"])
async def test_an_erasure_that_nobody_has_asked_for_is_404(gateway: Client, unknown: str) -> None:
    async with gateway.get(f"/api/v1/erasures/{unknown}") as answer:
        assert answer.status == 404 and (await answer.json())["type"] == "urn:millstream:problem:unknown-erasure"


async def test_a_loop_goes_on_after_an_outage(
    gateway: Client, persister: Persisters, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eraser, "_LOOK_EVERY_S", 0.01)
    await insert(database, 1, ANN)
    name = await database.fetchval("SELECT current_database()")
    stop = asyncio.Event()
    running = asyncio.create_task(persister.eraser.run(stop))
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", name
    )
    erasure_id = await erase_when_it_answers(gateway)

    async def is_done() -> bool:
        with contextlib.suppress(AssertionError):
            return str((await told(gateway, erasure_id))["state"]) == "done"
        return False

    await eventually(is_done, "the erasure is done")
    stop.set()
    await running
    assert await owners(database) == []


async def erase_when_it_answers(gateway: Client) -> str:
    found: list[str] = []

    async def asked() -> bool:
        with contextlib.suppress(AssertionError):
            found.append(await erase(gateway, principal=ANN))
        return bool(found)

    await eventually(asked, "the gateway has a connection again")
    return found[0]


def test_bounds_of_ids_are_those_of_times() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    millisecond = int(at.timestamp() * 1000)
    assert str(first_id_at(at)) <= uuid7(millisecond, 0) and uuid7(millisecond - 1, 2**62 - 1) < str(first_id_at(at))
    assert first_id_at(datetime(1969, 1, 1, tzinfo=UTC)) == UUID(int=0)
