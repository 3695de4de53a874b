"""Giving a result again: of requests that were answered before, and of those that are being computed (single flight).

A result is kept the second time that its request is seen, since most are seen once. Whoever is given one again has a
prediction of its own, which is stored as any other, with `cached: true`. Nothing here delays or fails a request: what
cannot be found in the cache is computed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from gateway.core.cache_key import Cacheable, cache_key
from gateway.core.finished import Finished
from gateway.core.order import Answer, Order
from gateway.core.serving import Serving
from shared.contract.catalogue import ServedVersion
from shared.contract.messages import Status
from shared.streams.result_cache import ALL_TENANTS, LARGEST_BYTES, CachedResult, ResultCache
from shared.telemetry.metrics import CACHE_REQUESTS

LOOK_FOR_ERASURES_EVERY_S = 1.0
MOST_SEEN = 100_000
MOST_STORING = 100


class Caching:
    """The cache as one gateway process uses it.

    Args:
        secret: of the names of results.
    """

    def __init__(self, cache: ResultCache, secret: bytes, serving: Serving) -> None:
        self._cache, self._secret, self._serving = cache, secret, serving
        self._generations: Mapping[str, int] = {}
        self._seen: dict[str, None] = {}  # in the order in which they were seen
        self._flights: dict[str, asyncio.Future[CachedResult | None]] = {}
        self._storing: set[asyncio.Task[Any]] = set()

    async def follow(self) -> None:
        """Learn whose results were erased.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        self._generations = await self._cache.generations()

    def keys(self, served: ServedVersion, tenant: str, options: bytes, inputs: Sequence[bytes]) -> list[str]:
        """The names of the results of these inputs; empty ones if they may not be cached."""
        scope, fingerprint = served.version.cache, self._serving.fingerprint(served.label)
        if scope == "off" or not fingerprint:
            return [""] * len(inputs)
        generations = self._generations
        if scope == "global":  # whoever's results are erased
            owner, generation = "", sum(generations.values())
        else:
            owner, generation = f"tenant {tenant}", generations.get(tenant, 0) + generations.get(ALL_TENANTS, 0)
        common = owner, generation, served.label, fingerprint, options
        return [cache_key(self._secret, Cacheable(*common, each)) for each in inputs]

    async def look(self, served: ServedVersion, order: Order, options: bytes, inputs: Sequence[bytes]) -> CacheLook:
        """Look for the results of these inputs, also of those that are being computed, as long as the caller waits."""
        if not any(order.cache):
            return CacheLook(order.wait_s, [""] * len(inputs))
        began = time.monotonic()
        keys = self.keys(served, order.caller.tenant, options, inputs)
        found = await self._find(served.model, keys, order.wait_s) if order.cache.reads else {}
        left_s = max(0.0, order.wait_s - (time.monotonic() - began))
        if order.wait_s <= 0 or not order.cache.stores:
            return CacheLook(left_s, keys, found)
        return CacheLook(left_s, keys, found, Flight(self._flights, [each for each in keys if each not in found]), self)

    async def _find(self, model: str, keys: Sequence[str], wait_s: float) -> dict[str, CachedResult]:
        names = {each for each in keys if each}
        followed = {each: self._flights[each] for each in names if wait_s > 0 and each in self._flights}
        found = await self._cache.find([each for each in names if each not in followed])
        if followed:
            await asyncio.wait(followed.values(), timeout=wait_s)
        ended = {name: flight.result() for name, flight in followed.items() if flight.done()}
        found |= {name: result for name, result in ended.items() if result is not None}
        for each in filter(None, keys):
            CACHE_REQUESTS.labels(model, "hit" if each in found else "miss").inc()
        return found

    def learn(self, key: str, finished: Finished | None) -> None:
        """Tell those who wait for a result that it was computed, and keep it if it was asked for before."""
        result = cached_result(finished)
        if not key or result is None:
            return
        if (flight := self._flights.get(key)) is not None and not flight.done():
            flight.set_result(result)
        if key not in self._seen:
            self._note(key)
        elif len(self._storing) < MOST_STORING:
            self._in_background(self._cache.store(key, result))

    async def close(self) -> None:
        """Wait for what is being stored, and close the connections."""
        if self._storing:
            await asyncio.wait(self._storing)
        await self._cache.close()

    def _note(self, key: str) -> None:
        self._seen[key] = None
        if len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work, name="cache")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)


class Flight:
    """What one request computes, and others with the same inputs wait for; a context manager.

    Args:
        flights: all of them, by the name of the result.
        keys: what this one computes; what another computes already stays that one's.
    """

    def __init__(self, flights: dict[str, asyncio.Future[CachedResult | None]], keys: Sequence[str]) -> None:
        self._flights = flights
        self._keys = keys
        self._led: dict[str, asyncio.Future[CachedResult | None]] = {}

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._led = {each: loop.create_future() for each in self._keys if each and each not in self._flights}
        self._flights |= self._led

    def __exit__(self, *_: object) -> None:
        for key, flight in self._led.items():
            del self._flights[key]
            if not flight.done():
                flight.set_result(None)  # it was not computed: who waits for it computes it


class CacheLook(NamedTuple):
    """What a look into the cache has found.

    Attributes:
        left_s: what is left of the caller's wait.
        keys: the names of the results of all inputs; empty ones of those that are not cached.
        found: results by name.
        flight: to be held while the others are computed.
        caching: what is to learn of these; None for nothing.
    """

    left_s: float
    keys: Sequence[str]
    found: Mapping[str, CachedResult] = {}
    flight: AbstractContextManager[None] = nullcontext()
    caching: Caching | None = None

    def learn(self, answers: Sequence[Answer]) -> None:
        """Keep what was computed, in the order of the inputs."""
        if self.caching is not None:
            for key, answer in zip(self.keys, answers, strict=True):
                self.caching.learn(key, answer.finished)


def cached_result(finished: Finished | None) -> CachedResult | None:
    """What may be given again of a prediction that was computed; None if it did not succeed or is too large."""
    outcome = None if finished is None else finished.outcome
    if outcome is None or outcome.cached or outcome.status is not Status.SUCCEEDED or outcome.result is None:
        return None
    return CachedResult(outcome.result, outcome.confidence) if len(outcome.result) <= LARGEST_BYTES else None
