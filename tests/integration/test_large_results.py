"""Batches are bounded in bytes: large results do not fill a persister, and what ended one comes in pieces."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import orjson
import pytest

from scripts.stack.ports import free_port
from shared.contract.keys import Keys
from shared.streams.request_stream import Delivery
from shared.streams.result_stream import READ_BYTES, ResultStream
from tests.access import shard_of
from tests.integration.test_result_stream import compute
from tests.processes import Service
from tests.streams import Redis, new_request
from tests.waiting import eventually

MOST_RESIDENT_MB = 400


async def add_results(redis: Redis, keys: Keys, count: int, text: str, answer: str) -> None:
    """Add results with this text and this answer to the stream."""
    await compute(redis, keys, "a")
    ((entry, fields),) = await redis.xrevrange(keys.results, count=1)
    await redis.xdel(keys.results, entry)
    large = {b"input": orjson.dumps({"text": text}), b"result": orjson.dumps({"label": answer})}
    for _ in range(count):
        await redis.xadd(keys.results, {**fields, **large, b"id": new_request().id})


def size_of(deliveries: list[Delivery]) -> int:
    """The bytes of entries."""
    return sum(len(name) + len(value) for each in deliveries for name, value in each.fields.items())


@pytest.mark.parametrize(("kilobytes", "expected"), [(1, 100), (100, 88), (3000, 8)])
async def test_a_read_is_bounded_in_bytes(redis: Redis, keys: Keys, kilobytes: int, expected: int) -> None:
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    await add_results(redis, keys, min(120, 3 * expected), "x" * (kilobytes * 1000), "A")
    read = list(await stream.read(100, 0))
    assert len(read) == expected
    assert size_of(read[:-8]) < READ_BYTES


async def test_results_behind_those_in_hand_are_bounded_too(redis: Redis, keys: Keys) -> None:
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    await add_results(redis, keys, 10, "small", "A")
    await add_results(redis, keys, 20, "x" * 3_000_000, "A")
    assert len(await stream.read(10, 0)) == 10
    assert len(await stream.read(10, 0)) == 8


async def test_however_many_small_ones_wait_they_are_read_at_once(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script takes several times as long."""
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    await add_results(redis, keys, 1, "x" * 2000, "A")
    ((_, fields),) = await redis.xrange(keys.results)
    async with redis.pipeline(transaction=False) as pipe:
        for _ in range(2 * READ_BYTES // 2000):
            pipe.xadd(keys.results, fields)
        await pipe.execute()
    monkeypatch.setattr(stream, "_read", None)
    assert len(await stream.read(500, 0)) == 500


async def test_what_was_delivered_in_vain_comes_in_smaller_and_smaller_batches(redis: Redis, keys: Keys) -> None:
    await compute(redis, keys, *(str(number) for number in range(70)))
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    assert len(await stream.read(64, 0)) == 64
    sizes = []
    for deliveries in (1, 2, 3, 4):
        for each in await redis.xpending_range(keys.results, keys.PERSISTER_GROUP, "-", "+", 100):
            entries = [each["message_id"]]
            await redis.xclaim(keys.results, keys.PERSISTER_GROUP, "p1", 0, entries, retrycount=deliveries, justid=True)
        sizes.append(len(await stream.claim(0, 64)))
    assert sizes == [16, 4, 1, 1]


async def test_a_claim_is_bounded_in_bytes(redis: Redis, keys: Keys) -> None:
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    await add_results(redis, keys, 20, "x" * 3_000_000, "A")
    for _ in range(3):
        await stream.read(100, 0)
    claimed = await stream.claim(0, 100)
    assert len(claimed) == 3 and all(each.deliveries == 2 for each in claimed)


async def test_a_persister_stays_small_whatever_it_stores(
    redis: Redis, keys: Keys, environment: dict[str, str], database: asyncpg.Connection, tmp_path: Path
) -> None:
    count = 300
    await add_results(redis, keys, count, "\N{WAVING HAND SIGN}" * 50_000, "x" * 500_000)  # 0.7 MB each
    port = free_port()
    service = Service(
        "persister", port, {**environment, "PERSISTER_METRICS_PORT": str(port)}, tmp_path / "persister.log"
    )

    async def all_stored() -> bool:
        assert service.process.poll() is None, service.log.read_text()
        return bool(await redis.xlen(keys.results) == 0)

    try:
        await eventually(all_stored, "all results are stored", 120)
        status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    finally:
        service.stop()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None and int(peak[1]) < MOST_RESIDENT_MB * 1024, status
    assert await database.fetchval("SELECT count(*) FROM predictions WHERE status = 'succeeded'") == count
