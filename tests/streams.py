"""Acting as gateway and worker in tests of the streams."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from shared.contract.ids import Batch, uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status, decode_request
from shared.contract.queues import Priority
from shared.streams.publishing import Group, Limits, NewRequest, Published, Publisher, Verdict
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.version_streams import VersionStreams
from tests.access import shard_of

Redis = Any  # redis-py types its answers for all protocols at once: tests would only assert types
MODEL, VERSION = "echo", "1.0.0"
LIMITS = Limits(
    max_backlog=1000,
    max_backlog_bytes=1_000_000,
    max_results=1000,
    max_memory_percent=100,
    max_idempotency_bytes=1_000_000,
)
ACCEPTED = Published(Verdict.ACCEPTED)
_serial = iter(range(1_000_000))


def new_request(text: str = "hello", *, wait: bool = False, timeout_ms: int = 60_000) -> NewRequest:
    """A request with a new id."""
    prediction_id = uuid7(int(time.time() * 1000), next(_serial))
    return NewRequest(prediction_id, orjson.dumps({"text": text}), b"{}", timeout_ms, wait=wait)


def new_batch(count: int) -> str:
    """What the ids of a new request with an idempotency key are made from."""
    return Batch(int(time.time() * 1000), 0, secrets.token_hex(16), count).text()


async def publish(
    redis: Redis,
    keys: Keys,
    *texts: str,
    gateway: str = "gw",
    wait: bool = False,
    priority: Priority = Priority.INTERACTIVE,
) -> list[str]:
    """Publish requests; the answer has their ids."""
    requests = [new_request(text, wait=wait) for text in texts]
    publisher = Publisher(shard_of("gateway", redis, keys), gateway, LIMITS)
    groups = [Group([each]) for each in requests]
    assert await publisher.publish(MODEL, VERSION, groups, priority) == [ACCEPTED] * len(requests)
    return [each.id for each in requests]


def stream(redis: Redis, keys: Keys, consumer: str) -> RequestStream:
    """The request stream as one worker sees it."""
    return RequestStream(shard_of("inference_worker", redis, keys), MODEL, VERSION, consumer)


def streams(redis: Redis, keys: Keys, consumer: str) -> VersionStreams:
    """Both request streams as one worker sees them."""
    return VersionStreams(shard_of("inference_worker", redis, keys), MODEL, VERSION, consumer)


def finished(delivery: Delivery, label: str = "A", worker: str = "w") -> Completed:
    """A delivery with an outcome."""
    outcome = Outcome(Status.SUCCEEDED, orjson.dumps({"label": label}), 0.5, 1, 2, worker=worker)
    return Completed(delivery, decode_request(delivery.fields), outcome)


async def results(redis: Redis, keys: Keys) -> list[Mapping[bytes, bytes]]:
    """What is in the result stream."""
    return [fields for _, fields in await redis.xrange(keys.results)]


async def spoil(redis: Redis, keys: Keys, prediction_id: str, changes: Mapping[bytes, bytes | None]) -> None:
    """Change fields of a result that waits to be stored (None removes one); its state points to the changed entry."""
    for entry, fields in await redis.xrange(keys.results):
        if fields[b"id"].decode() == prediction_id:
            kept = {name: value for name, value in {**fields, **changes}.items() if value is not None}
            async with redis.pipeline(transaction=True) as pipe:
                pipe.xdel(keys.results, entry)
                pipe.xadd(keys.results, kept)
                _, spoilt = await pipe.execute()
            await redis.hset(keys.prediction(prediction_id), "result_entry", spoilt)


@asynccontextmanager
async def memory_limit(redis: Redis, limit: int) -> AsyncIterator[None]:
    """A Redis with another `maxmemory`, in bytes, and then with its own again."""
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", limit)
    try:
        yield
    finally:
        await redis.config_set("maxmemory", before)
