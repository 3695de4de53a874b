"""The deadlines of all requests that wait or run, whatever version they are for and whatever a catalogue says today.

They stand in one sorted set, which changes in the same step as the request streams. So whatever is late is found at
once: in a long stream, in that of a version that left the catalogue, in the hands of a worker that died.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import cast

from shared.contract.queues import Queue
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard


class Deadlines:
    """The deadlines of one shard."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._key = shard.redis, shard.keys.deadlines

    async def passed(self, skip: int, count: int) -> Mapping[Queue, Sequence[str]]:
        """Entries whose deadline has passed, by queue; up to `count`, after the first `skip`.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            seconds, microseconds = await self._redis.time()
            now_ms = seconds * 1000 + microseconds // 1000
            found = await self._redis.zrangebyscore(self._key, "-inf", f"({now_ms}", start=skip, num=count)
        passed: dict[Queue, list[str]] = defaultdict(list)
        for member in cast(list[bytes], found):
            label, _, entry = member.decode().rpartition(" ")
            passed[Queue.of(label)].append(entry)
        return passed

    async def forget(self, queue: Queue, entries: Sequence[str]) -> None:
        """Forget the deadlines of entries that an operator deleted by hand.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if entries:
            with redis_errors():
                await self._redis.zrem(self._key, *(f"{queue.label} {entry}" for entry in entries))
