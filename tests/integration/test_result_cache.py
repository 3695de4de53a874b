"""Looking into the cache: with one command for all who ask meanwhile, and never for long."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from shared.contract.keys import Keys
from shared.streams.result_cache import ANSWER_WITHIN_S, MOST_A_LOOK, CachedResult, ResultCache
from shared.streams.shard import Shard
from tests.streams import memory_limit

FOUND = CachedResult(b'{"label": "A"}', 0.75)


@pytest.fixture
async def cache(redis: Redis, keys: Keys) -> ResultCache:
    cache = ResultCache(Shard(redis, keys), None, 60, 90)
    assert await cache.store("known", FOUND)
    return cache


async def looks(redis: Redis) -> int:
    """How many commands have looked so far."""
    return int((await redis.info("commandstats")).get("cmdstat_mget", {"calls": 0})["calls"])


async def test_nothing_is_kept_once_so_much_of_the_memory_is_in_use(redis: Redis, keys: Keys) -> None:
    used = int((await redis.info("memory"))["used_memory"])
    for limit, percent, stored in ((used * 10, 50, True), (used * 2, 20, False), (used * 10, 100, True), (0, 50, True)):
        async with memory_limit(redis, limit):
            assert await ResultCache(Shard(redis, keys), None, 60, percent).store("known", FOUND) is stored, limit


async def test_all_who_ask_at_once_share_one_command_and_each_gets_its_own(redis: Redis, cache: ResultCache) -> None:
    before = await looks(redis)
    found = await asyncio.gather(*(cache.find(["known", f"{i}"] if i % 2 else [f"{i}"]) for i in range(50)))
    assert found == [{"known": FOUND} if i % 2 else {} for i in range(50)]
    assert await looks(redis) - before == 1


async def test_who_asks_during_a_look_is_answered_by_the_next(redis: Redis, cache: ResultCache) -> None:
    before = await looks(redis)
    first = asyncio.create_task(cache.find(["unknown"]))
    await asyncio.sleep(0)
    while cache._next is not None:  # until the first is on its way
        await asyncio.sleep(0)
    assert await asyncio.gather(*(cache.find(["known"]) for _ in range(10))) == [{"known": FOUND}] * 10
    assert await first == {}
    assert await looks(redis) - before == 2


async def test_a_look_is_bounded(redis: Redis, cache: ResultCache) -> None:
    before = await looks(redis)
    found = await asyncio.gather(
        *(cache.find(["known", *(f"{i} {n}" for n in range(MOST_A_LOOK // 2))]) for i in "abc")
    )
    assert found == [{"known": FOUND}] * 3
    assert await looks(redis) - before == 3


async def test_who_leaves_takes_nothing_from_the_others(cache: ResultCache) -> None:
    leaving, staying = asyncio.create_task(cache.find(["known"])), asyncio.create_task(cache.find(["known"]))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == {"known": FOUND}


async def test_a_redis_that_does_not_answer_is_a_miss_for_all_at_once(redis: Redis, cache: ResultCache) -> None:
    await redis.client_pause(round(ANSWER_WITHIN_S * 3000))
    began = time.monotonic()
    assert await asyncio.gather(*(cache.find(["known", f"{i}"] + ["x"] * MOST_A_LOOK) for i in range(5))) == [{}] * 5
    assert time.monotonic() - began < ANSWER_WITHIN_S * 2  # not one after another
    assert cache.away
    cache._away_until = 0.0
    await redis.client_unpause()
    assert await cache.find(["known"]) == {"known": FOUND}
