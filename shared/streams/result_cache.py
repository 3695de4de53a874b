"""Results that may be given again: a cache in Redis, where nothing waits for it and nothing depends on it.

It is this deployment's Redis, or one of its own that evicts what is used least (`allkeys-lfu`). In the first nothing is
stored once half of what admission may use is used, so that the cache never takes what requests need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import SecretStr
from redis.asyncio import Redis

from shared.contract.errors import StoreUnavailable
from shared.service.settings import Settings
from shared.streams.redis_client import connect
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard
from shared.telemetry.metrics import ERRORS

ANSWER_WITHIN_S = 0.25
MOST_A_LOOK = 500  # results of up to 16 KiB in one answer of Redis
PAUSE_S = 1.0  # after it could not be reached
LARGEST_BYTES = 16 * 1024
ALL_TENANTS = "*"  # whose results an erasure makes forgotten: nobody knows the tenant of what it erases


class CachedResult(NamedTuple):
    """A result that may be given again: the text of a JSON object, and its confidence."""

    result: bytes
    confidence: float | None


class _Look:
    """What is looked for together: with one command for all who ask while another look is under way.

    Attributes:
        wanted: the digests, each once.
        task: does it.
    """

    def __init__(self, ask: Callable[[_Look], Coroutine[Any, Any, dict[str, CachedResult]]]) -> None:
        self.wanted: dict[str, None] = {}
        self.task = asyncio.create_task(ask(self), name="look into the cache")


class ResultCache:
    """The cache of one gateway process.

    Args:
        own: a Redis of its own, None for that of the shard.
        ttl_s: how long a result is kept.
        max_memory_percent: percent of maxmemory in use, beyond which nothing is stored; it does not count for an own
            Redis.
    """

    def __init__(self, shard: Shard, own: Redis | None, ttl_s: float, max_memory_percent: int) -> None:
        self._keys, self._own = shard.keys, own
        self._redis = shard.redis if own is None else own
        self._generations_at = shard.redis
        self._store = Shard(self._redis, shard.keys).script("cache")
        self._ttl_ms = round(ttl_s * 1000)
        self._most_percent = 100 if own is not None else max_memory_percent // 2
        self._away_until = 0.0
        self._looking = asyncio.Lock()
        self._next: _Look | None = None

    async def close(self) -> None:
        """Close the connections to a Redis of its own."""
        if self._own is not None:
            await self._own.aclose()

    @property
    def away(self) -> bool:
        """Whether it could not be reached a moment ago: then it is not asked."""
        return time.monotonic() < self._away_until

    async def find(self, digests: Sequence[str]) -> dict[str, CachedResult]:
        """Those that are there, by digest; none if it cannot be asked within `ANSWER_WITHIN_S`."""
        if self.away or not digests:
            return {}
        look = self._next
        if look is None or len(look.wanted) + len(digests) > MOST_A_LOOK:
            look = self._next = _Look(self._ask)
        look.wanted |= dict.fromkeys(digests)
        found = await asyncio.shield(look.task)  # others wait for it too
        return {each: found[each] for each in digests if each in found}

    async def _ask(self, look: _Look) -> dict[str, CachedResult]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._looking:
                self._next = None  # who asks from now on is answered by another look
                if self.away:
                    return {}
                digests = list(look.wanted)
                with redis_errors():
                    found = await self._redis.mget([self._keys.cached(each) for each in digests])
        except (StoreUnavailable, TimeoutError):
            self._next = None
            self._leave_alone()
            return {}
        texts = zip(digests, found, strict=True)
        return {digest: _decoded(text) for digest, text in texts if isinstance(text, bytes)}

    async def store(self, digest: str, found: CachedResult) -> bool:
        """Keep a result; returns whether it is kept: it is not if it is too large, or if memory or Redis lacks."""
        if self.away or len(found.result) > LARGEST_BYTES:
            return False
        confidence = "" if found.confidence is None else repr(found.confidence)
        args: list[str | bytes | int | float] = [
            f"{confidence}\n".encode() + found.result,
            self._ttl_ms,
            self._most_percent,
        ]
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return bool(await self._store([self._keys.cached(digest)], args))
        except (StoreUnavailable, TimeoutError):
            self._leave_alone()
            return False

    def _leave_alone(self) -> None:
        ERRORS.labels("gateway", "cache_unavailable").inc()
        self._away_until = time.monotonic() + PAUSE_S

    async def generations(self) -> Mapping[str, int]:
        """How often each tenant's results were erased.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            found: Any = await self._generations_at.hgetall(self._keys.cache_generations)
        return {tenant.decode(errors="replace"): int(number) for tenant, number in found.items()}

    async def forget(self, tenant: str) -> None:
        """Make every gateway forget the results of a tenant, within seconds.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            await self._generations_at.hincrby(self._keys.cache_generations, tenant, 1)


def _decoded(text: bytes) -> CachedResult:
    confidence, _, result = text.partition(b"\n")
    return CachedResult(result, float(confidence) if confidence else None)


def open_own(settings: Settings, url: SecretStr | None) -> Redis | None:
    """A client of the Redis at this URL; None without one."""
    return None if url is None else connect(settings.model_copy(update={"redis_url": url}))
