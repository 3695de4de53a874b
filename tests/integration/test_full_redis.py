"""A Redis at maxmemory can still be emptied: each script that helps with that runs to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import OutOfMemoryError

from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from shared.streams.deployment import Deployment
from shared.streams.prediction_state import PredictionStates, Queued
from shared.streams.publishing import LOOK_EVERY_BYTES, LOOK_EVERY_S, Group, Published, Publisher, Verdict
from shared.streams.result_stream import Persisted, ResultStream
from shared.streams.workers import Heartbeat
from tests.access import running_redis, shard_of
from tests.streams import LIMITS, MODEL, VERSION, Redis, finished, new_request, publish, results, stream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("full") / "redis") as made:
        yield made


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """A client of a Redis that may be made full."""
    made: Redis = Client.from_url(server.url, protocol=2)
    yield made
    await made.config_set("maxmemory", "0")
    await made.aclose()


async def fill(redis: Redis) -> None:
    """From now on whatever takes memory is refused."""
    await redis.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        await redis.set("more", "x")


@pytest.mark.parametrize(
    ("maxmemory", "percent", "verdict"),
    [
        ("0", 1, Verdict.ACCEPTED),  # without a limit
        ("1gb", 100, Verdict.ACCEPTED),
        ("1gb", 0, Verdict.MEMORY),
        ("1", 100, Verdict.MEMORY),
    ],
)
async def test_accepting_ends_at_a_share_of_its_limit(
    redis: Redis, keys: Keys, maxmemory: str, percent: int, verdict: Verdict
) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_memory_percent=percent))
    await redis.config_set("maxmemory", maxmemory)
    assert await publisher.publish(MODEL, VERSION, [Group([new_request()])]) == [Published(verdict)]


async def test_memory_is_looked_at_after_a_time_or_many_bytes_and_each_time_while_it_is_full(
    redis: Redis, keys: Keys
) -> None:
    now = 100.0
    limits = replace(LIMITS, max_memory_percent=0, max_backlog_bytes=10 * LOOK_EVERY_BYTES)  # full at each look
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", limits, clock=lambda: now)

    async def verdict(size: int = 10) -> Verdict:
        new = new_request()._replace(input=b"x" * size)
        (published,) = await publisher.publish(MODEL, VERSION, [Group([new])])
        return published.verdict

    assert await verdict() is Verdict.ACCEPTED  # Redis has no limit
    await redis.config_set("maxmemory", "1gb")
    assert await verdict() is Verdict.ACCEPTED
    assert await verdict(LOOK_EVERY_BYTES) is Verdict.MEMORY and await verdict() is Verdict.MEMORY
    await redis.config_set("maxmemory", "0")
    assert await verdict() is Verdict.ACCEPTED
    await redis.config_set("maxmemory", "1gb")
    now += LOOK_EVERY_S
    assert await verdict() is Verdict.MEMORY


async def test_a_worker_shows_that_it_lives(redis: Redis, keys: Keys) -> None:
    await fill(redis)
    await Heartbeat(shard_of("inference_worker", redis, keys), "w1", 30).beat(["echo:1.0.0"], host="here")
    assert await redis.hgetall(keys.worker("w1")) == {b"serves": b'["echo:1.0.0"]', b"host": b"here"}
    assert 29_000 < await redis.pttl(keys.worker("w1")) <= 30_000


async def test_a_persister_notes_its_database(redis: Redis, keys: Keys) -> None:
    await fill(redis)
    await Deployment(shard_of("persister", redis, keys)).bind("a database")
    assert await redis.get(keys.deployment) == b"a database"


async def test_who_cannot_be_noted_as_waiting_is_told_the_state(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a")
    states = PredictionStates(shard_of("gateway", redis, keys), "late gateway")
    await fill(redis)
    assert await states.look(prediction_id, wait=True) == Queued(0, "echo:1.0.0")
    assert await states.look_all([prediction_id]) == {prediction_id: Queued(0, "echo:1.0.0")}


async def test_workers_and_persister_empty_it(redis: Redis, keys: Keys) -> None:
    done, poison, left = await publish(redis, keys, "done", "poison", "left")
    await fill(redis)
    worker, other = stream(redis, keys, "w1"), stream(redis, keys, "w2")
    await worker.join()
    await other.join()
    first, second, third = (await worker.read(3, 10)).deliveries
    assert await worker.renew([first.entry]) == 1
    assert await worker.release([third.entry], 60_000) == 1
    assert await worker.count_delivery(second.entry) == 2
    assert [each.entry for each in (await other.claim(60_000, 10)).deliveries] == [third.entry]
    assert await worker.complete([finished(first)]) == [True]
    assert await worker.dead_letter(second, "max_deliveries", "it died")
    assert await other.complete([finished(third)]) == [True]
    assert await worker.leave() and await other.leave()

    persister = ResultStream(shard_of("persister", redis, keys), "p1")
    await persister.join()
    ended = await persister.read(10, 0)
    assert len(ended) == 3 and len(await persister.claim(0, 10)) > 0
    await persister.forget([Persisted(each.entry, "", 0) for each in ended])
    assert await results(redis, keys) == []
    assert {fields[b"id"].decode() for _, fields in await redis.xrange(keys.dead)} == {poison}
    assert [await redis.hget(keys.prediction(each), "status") for each in (done, poison, left)] == [
        *(b"succeeded", b"failed", b"succeeded")
    ]
