"""The result stream, as a persister uses it: read, claim, and delete what is committed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.contract.messages import readable
from shared.streams.dead_letters import OF_CALLBACKS
from shared.streams.deployment import Deployment
from shared.streams.redis_errors import redis_errors
from shared.streams.request_stream import Delivery, claimed_delivery
from shared.streams.shard import Shard

# Of a batch. A persister needs about ten times as much memory as it has in hand, which is two batches.
READ_BYTES = 8 * 2**20


class Persisted(NamedTuple):
    """A result whose row is committed."""

    entry: str
    prediction_id: str
    attempt: int


class ResultStream:
    """The result stream, its group and this consumer."""

    def __init__(self, shard: Shard, consumer: str) -> None:
        self.key = shard.keys.results
        self._redis, self._keys = shard.redis, shard.keys
        self._consumer = consumer
        self._group = shard.keys.PERSISTER_GROUP
        self.deployment = Deployment(shard)
        self._join = shard.script("join")
        self._read = shard.script("read_results")
        self._claim = shard.script("claim_results")
        self._persisted = shard.script("persisted")
        self._remove = shard.script("remove_consumer")
        self._remove_idle = shard.script("remove_idle_consumers")

    async def join(self) -> None:
        """Create the stream and its group."""
        await self._join([self.key], [self._group, ""])

    async def read(self, count: int, block_ms: int, most_bytes: int = READ_BYTES) -> Sequence[Delivery]:
        """Up to `count` results that nobody has read yet, and not many more than `most_bytes`, which are at least 1.

        Args:
            block_ms: how long to wait for the first. Never cancel it.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        try:
            if await self._bytes(count) > most_bytes:
                read = await self._read([self.key], [self._group, self._consumer, count, most_bytes])
                if read:
                    return [claimed_delivery((*each, 1)) for each in read]
                count = 1  # all that was there is another's
            return await self._read_at_once(count, block_ms)
        except ResponseError:  # the group is missing
            await self.join()
            return []

    async def _bytes(self, count: int) -> int:
        """At least about as many bytes as the next `count` entries have, which follow as many that are in hand.

        Redis tells the bytes of all nodes by the mean of the first ones. A node holds one entry or several small ones.
        """
        nodes = 2 * count
        with redis_errors():
            usage: Any = await self._redis.memory_usage(self.key, samples=nodes)
            if not usage or usage <= READ_BYTES:
                return int(usage or 0)
            info: Any = await self._redis.xinfo_stream(self.key)
        return int(usage * min(1, nodes / max(1, info["radix-tree-keys"])))  # none are left if others were quicker

    async def _read_at_once(self, count: int, block_ms: int) -> Sequence[Delivery]:
        """For speed, without a script: that entries become tables of Lua takes several times as long."""
        with redis_errors():
            answer: Any = await self._redis.xreadgroup(
                self._group, self._consumer, {self.key: ">"}, count=count, block=block_ms if block_ms > 0 else None
            )
        return [Delivery(entry.decode(), fields) for entry, fields in (answer[0][1] if answer else [])]

    async def claim(self, visibility_timeout_ms: int, count: int) -> Sequence[Delivery]:
        """Claim results that a persister left pending: up to `count`, fewer of those that were delivered often.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        try:
            arguments = (self._group, self._consumer, visibility_timeout_ms, count, READ_BYTES)
            claimed = await self._claim([self.key], arguments)
        except ResponseError:  # the group is missing
            await self.join()
            return []
        return [claimed_delivery(each) for each in claimed]

    async def forget(self, persisted: Sequence[Persisted]) -> None:
        """Delete committed results, each together with the state of its prediction. Safe to repeat.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        keys = [self.key, *(self._keys.prediction(each.prediction_id) for each in persisted)]
        args: list[str | int] = [self._group]
        for each in persisted:
            args += (each.entry, each.attempt)
        await self._persisted(keys, args)

    async def dead_letter(self, delivery: Delivery, reason: str, error: str) -> None:
        """Copy a result that cannot be stored to the dead-letter stream; call `forget` afterwards.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        about: dict[Any, Any] = {
            "source": self.key,
            "source_entry": delivery.entry,
            "reason": reason,
            "error": readable(error),
            "deliveries": delivery.deliveries,
        }
        original: dict[Any, Any] = {
            b"original_" + name if name == b"error" else name: value for name, value in delivery.fields.items()
        }
        with redis_errors():
            await self._redis.xadd(self._keys.dead, {**about, **original})

    async def dead_callback(
        self, prediction_id: str, attempt: int, version: tuple[str, str], tries: int, error: str
    ) -> None:
        """Add a dead letter for a callback that could not be delivered.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        about: dict[Any, Any] = {
            "source": OF_CALLBACKS,
            "source_entry": f"{prediction_id}.{attempt}",
            "reason": "webhook_undelivered",
            "error": readable(error),
            "deliveries": tries,
            "id": prediction_id,
            "model": version[0],
            "version": version[1],
            "attempt": attempt,
        }
        with redis_errors():
            await self._redis.xadd(self._keys.dead, about)

    async def remove_idle(self, least_idle_ms: int) -> int:
        """Remove consumers without pending entries that have been idle for at least this long; returns how many.

        Persisters have no heartbeat, and one that is killed cannot leave: its consumer would stay forever.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        try:
            return int(await self._remove_idle([self.key], [self._group, least_idle_ms]))
        except ResponseError:  # the stream is missing
            return 0

    async def leave(self) -> None:
        """Remove this consumer if nothing is pending for it."""
        with suppress(ResponseError):  # the stream is missing
            await self._remove([self.key], [self._group, self._consumer])


def size_of(delivery: Delivery) -> int:
    """The bytes of an entry, without their names."""
    return sum(map(len, delivery.fields.values()))
