"""Requests that nobody reads expire too."""

from __future__ import annotations

import pytest

from gateway.upkeep.expiry import Expiry
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.contract.messages import Status, decode_result
from shared.streams.dead_letters import DeadLetters
from shared.streams.known_streams import KnownStreams
from shared.streams.publishing import Group, Publisher
from shared.streams.request_stream import RequestStream
from shared.streams.shard import Shard
from tests.streams import LIMITS, MODEL, VERSION, Redis, new_request, results, stream
from tests.waiting import eventually


@pytest.fixture
def expiry(redis: Redis, keys: Keys, catalogue: Catalogue) -> Expiry:
    streams = [
        RequestStream(Shard(redis, keys), each.model, each.version.version, "gateway") for each in catalogue.served()
    ]
    known = KnownStreams(Shard(redis, keys), [each.label for each in catalogue.served()], "gateway")
    return Expiry(streams, known, DeadLetters(Shard(redis, keys)), 60_000, visibility_timeout_ms=100)


async def test_only_what_is_unread_and_late_expires(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    publisher = Publisher(Shard(redis, keys), "gw", LIMITS)
    read, late, in_time = new_request("read", timeout_ms=1), new_request("late", timeout_ms=1), new_request("in time")
    requests = stream(redis, keys, "w1")
    await requests.join()
    await publisher.publish(MODEL, VERSION, [Group([read])])
    (delivery,) = (await requests.read(1, 10)).deliveries
    await publisher.publish(MODEL, VERSION, [Group([late]), Group([in_time])])

    async def expired() -> bool:
        await requests.renew([delivery.entry])
        return await expiry.expire(requests) == 1

    await eventually(expired, "the deadline passes")
    assert await expiry.expire(requests) == 0
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert (result.id, result.outcome.status) == (late.id, Status.EXPIRED)
    assert "no live worker had it" in result.outcome.error
    assert await redis.xlen(requests.key) == 2


async def test_it_needs_no_group_and_leaves_what_is_malformed(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    requests = stream(redis, keys, "w1")
    assert await expiry.expire(requests) == 0
    await redis.xadd(requests.key, {"deadline_at": "1"})
    await redis.xadd(requests.key, {"deadline_at": "soon"})
    assert await expiry.expire(requests) == 0
    assert await redis.xlen(requests.key) == 2


async def test_what_a_dead_worker_holds_expires_too(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    await Publisher(Shard(redis, keys), "gw", LIMITS).publish(MODEL, VERSION, [Group([new_request("a", timeout_ms=1)])])
    requests = stream(redis, keys, "dead")
    await requests.join()
    assert len((await requests.read(1, 10)).deliveries) == 1

    async def expired() -> bool:
        return await expiry.expire(requests) == 1

    await eventually(expired, "the claim has not been renewed for longer than the visibility timeout")
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert result.outcome.status is Status.EXPIRED
    assert await redis.xpending(requests.key, keys.WORKER_GROUP) == {
        **{"pending": 0, "min": None, "max": None},
        "consumers": [],
    }


async def test_what_left_the_catalogue_expires_too(redis: Redis, keys: Keys, expiry: Expiry) -> None:
    publisher = Publisher(Shard(redis, keys), "gw", LIMITS)
    late, in_time = new_request("late", timeout_ms=1), new_request("in time")
    await publisher.publish("removed", "9", [Group([late]), Group([in_time])])

    async def expired() -> bool:
        return await expiry.expire_orphans() == 1

    await eventually(expired, "the deadline passes")
    (result,) = [decode_result(fields) for fields in await results(redis, keys)]
    assert (result.id, result.model, result.outcome.status) == (late.id, "removed", Status.EXPIRED)
    assert await redis.xlen(keys.requests("removed", "9")) == 1
