"""What is to be erased in Redis: requests that wait or run, results that are not stored yet, dead letters.

Each is looked for in the order in which entries move on: from the request streams to the results or the dead letters,
from the results to the dead letters. So an entry that moves during a look is still met. Only a replay moves one back:
that is met at the next look, for there is always another after one that has found something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from redis.exceptions import ResponseError

from shared.contract.erasure import Erasure
from shared.contract.errors import StoreUnavailable
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.streams.known_streams import KnownStreams
from shared.streams.redis_errors import NO_PERMISSION, UNKNOWN_COMMAND, redis_errors
from shared.streams.request_stream import Completed, Delivery, readable_id
from shared.streams.result_cache import ALL_TENANTS
from shared.streams.shard import Shard

_AT_ONCE = 100
_CANCELLED = Outcome(Status.CANCELLED, error="erased, as an administrator has asked for")
_Fields = Mapping[bytes, bytes]


class Erasing:
    """Finds and ends entries in one Redis. Every method raises `StoreUnavailable` if it cannot be reached."""

    def __init__(self, shard: Shard, consumer: str) -> None:
        self._redis, self._keys = shard.redis, shard.keys
        self._streams = KnownStreams(shard, tuple, consumer)

    async def cancel_requests(self, erasure: Erasure) -> AsyncIterator[int]:
        """End requests that wait or run as `cancelled`; yields how many, after each page of entries."""
        for stream in await self._streams.orphans():
            async for page in self._pages(stream.key):
                found = [Delivery(*each, 0) for each in page if erasure.covers(*each)]
                readable = [Completed(each, _request(each.fields), _CANCELLED) for each in found if _id(each)]
                ended = sum(await stream.complete(readable)) if readable else 0
                for each in found:
                    if not _id(each):  # it has no prediction that could end; then it is met among the dead letters
                        ended += await stream.dead_letter(each, "erased", _CANCELLED.error)
                yield ended

    async def count_results(self, erasure: Erasure) -> AsyncIterator[int]:
        """Count results that are not stored yet; yields how many, after each page of entries."""
        async for page in self._pages(self._keys.results):
            yield sum(erasure.covers(*each) for each in page)

    async def delete_dead(self, erasure: Erasure) -> AsyncIterator[int]:
        """Delete dead letters; yields how many, after each page of entries."""
        async for page in self._pages(self._keys.dead):
            found = [entry for entry, fields in page if erasure.covers(entry, fields)]
            with redis_errors():
                yield int(await self._redis.xdel(self._keys.dead, *found)) if found else 0

    async def forget_cached(self) -> None:
        """Have all gateways forget what they have cached: no result says whose input it was computed from."""
        with redis_errors():
            await self._redis.hincrby(self._keys.cache_generations, ALL_TENANTS, 1)

    async def begin_rewrite(self) -> bool:
        """Have Redis write its append-only file anew; returns whether it will: not while it does so already."""
        try:
            with redis_errors():
                await self._redis.bgrewriteaof()
        except ResponseError:
            return False
        return True

    async def rewrite_obstacle(self) -> str:
        """Why Redis will not be asked to write its append-only file anew; empty if it is to be asked."""
        info = await self._persistence()
        return "" if info.get("aof_enabled", 1) else "Redis has no append-only file"

    async def is_rewriting(self) -> bool:
        """Whether Redis writes its append-only file anew, or is about to."""
        info = await self._persistence()
        return bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"))

    async def has_rewritten(self) -> bool:
        """Whether the last time went well."""
        return str((await self._persistence()).get("aof_last_bgrewrite_status", "ok")) == "ok"

    async def _persistence(self) -> Mapping[str, Any]:
        with redis_errors():
            return dict(await self._redis.info("persistence"))

    async def _pages(self, key: str) -> AsyncIterator[list[tuple[str, _Fields]]]:
        """What a stream holds now, a page at a time; what is added meanwhile is left out."""
        with redis_errors():
            last: Any = await self._redis.xrevrange(key, count=1)
        page: Any = last
        after = "-"
        while page:
            with redis_errors():
                page = await self._redis.xrange(key, min=after, max=last[0][0], count=_AT_ONCE)
            if page:
                after = f"({page[-1][0].decode()}"
                yield [(entry.decode(), fields) for entry, fields in page]


def is_forbidden(error: StoreUnavailable) -> bool:
    """Whether Redis would not do it for this user, today or tomorrow."""
    return error.reason in (NO_PERMISSION, UNKNOWN_COMMAND)


def _id(delivery: Delivery) -> str:
    return readable_id(delivery.fields)


def _request(fields: _Fields) -> PredictionRequest:
    """What ending a request needs of it, which may be unreadable otherwise."""
    attempt = fields.get(b"attempt", b"")
    return PredictionRequest(readable_id(fields), "", "", "", {}, int(attempt) if attempt.isdigit() else 0)
