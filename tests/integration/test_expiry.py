"""Requests that nobody reads expire too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from gateway.upkeep.expiry import Expiry
from shared.contract.keys import Keys
from shared.contract.messages import Status, decode_result
from shared.streams.publishing import Group, Publisher
from tests.access import shard_of
from tests.streams import LIMITS, MODEL, VERSION, Redis, new_request, results, stream
from tests.waiting import eventually

pytestmark = pytest.mark.every_server


@pytest.fixture
def expiry(redis: Redis, keys: Keys) -> Expiry:
    return Expiry(shard_of("gateway", redis, keys), visibility_timeout_ms=60_000)


async def test_only_what_is_unread_and_late_expires(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    publisher, before = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS), counted()
    read, late, in_time = new_request("read", timeout_ms=1), new_request("late", timeout_ms=1), new_request("in time")
    requests = stream(redis, keys, "w1")
    await requests.join()
    await publisher.publish(MODEL, VERSION, [Group([read])])
    (delivery,) = (await requests.read(1, 10)).deliveries
    await publisher.publish(MODEL, VERSION, [Group([late]), Group([in_time])])

    async def expired() -> bool:
        return await expiry.expire() == 1

    await eventually(expired, "the deadline passes")
    assert await expiry.expire() == 0
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert (result.id, result.outcome.status) == (late.id, Status.EXPIRED)
    assert "no live worker had it" in result.outcome.error
    assert 0 < result.outcome.queue_time_ms < 60_000
    assert await redis.xlen(requests.key) == 2
    assert counted() == before + 1


def counted() -> float:
    """How many predictions are counted as expired."""
    labels = {"model": MODEL, "version": VERSION, "status": "expired"}
    return REGISTRY.get_sample_value("millstream_predictions_total", labels) or 0


async def test_what_cannot_be_read_is_a_dead_letter_at_its_deadline(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    requests = stream(redis, keys, "w1")
    assert await expiry.expire() == 0
    entry = (await redis.xadd(requests.key, {"schema": "9"})).decode()
    await redis.zadd(keys.deadlines, {f"{MODEL}:{VERSION} {entry}": 1})
    assert await expiry.expire() == 0
    assert await redis.xlen(requests.key) == 0
    assert [fields[b"schema"] for _, fields in await redis.xrange(keys.dead)] == [b"9"]
    assert await redis.zcard(keys.deadlines) == 0


async def test_what_an_operator_deleted_is_forgotten_at_its_deadline(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    await publisher.publish(MODEL, VERSION, [Group([new_request(timeout_ms=-1)])])
    await redis.delete(keys.requests(MODEL, VERSION))
    assert await expiry.expire() == 0
    assert await redis.zcard(keys.deadlines) == 0


async def test_whatever_is_late_expires_in_one_turn_wherever_it_stands(
    redis: Redis, keys: Keys, expiry: Expiry
) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_backlog=10_000))
    requests = stream(redis, keys, "w1")
    await requests.join()
    held = [new_request(timeout_ms=-1) for _ in range(250)]
    await publisher.publish(MODEL, VERSION, [Group(held)])
    assert len((await requests.read(250, 10)).deliveries) == 250
    in_time, late = [new_request() for _ in range(250)], [new_request(timeout_ms=-1) for _ in range(350)]
    await publisher.publish(MODEL, VERSION, [Group(in_time), Group(late)])
    await publisher.publish("removed", "9", [Group([new_request(timeout_ms=-1)])])
    assert await expiry.expire() == 351
    ids = {fields[b"id"].decode() for _, fields in await redis.xrange(requests.key)}
    assert ids == {each.id for each in [*held, *in_time]}
    assert await redis.zcard(keys.deadlines) == 500


async def test_what_a_dead_worker_holds_expires_too(redis: Redis, keys: Keys) -> None:
    expiry = Expiry(shard_of("gateway", redis, keys), visibility_timeout_ms=100)
    await Publisher(shard_of("gateway", redis, keys), "gw", LIMITS).publish(
        MODEL, VERSION, [Group([new_request("a", timeout_ms=1)])]
    )
    requests = stream(redis, keys, "dead")
    await requests.join()
    assert len((await requests.read(1, 10)).deliveries) == 1

    async def expired() -> bool:
        return await expiry.expire() == 1

    await eventually(expired, "the claim has not been renewed for longer than the visibility timeout")
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert result.outcome.status is Status.EXPIRED
    assert await redis.xpending(requests.key, keys.WORKER_GROUP) == {
        **{"pending": 0, "min": None, "max": None},
        "consumers": [],
    }


async def test_what_left_the_catalogue_expires_too(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    late, in_time = new_request("late", timeout_ms=1), new_request("in time")
    await publisher.publish("removed", "9", [Group([late]), Group([in_time])])

    async def expired() -> bool:
        return await expiry.expire() == 1

    await eventually(expired, "the deadline passes")
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert (result.id, result.model, result.outcome.status) == (late.id, "removed", Status.EXPIRED)
    assert await redis.xlen(keys.requests("removed", "9")) == 1
