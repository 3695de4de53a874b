"""The registry of models in Redis: published by gateways, followed by gateways and workers."""

from __future__ import annotations

from shared.contract.registry import Registry, decode_registry
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard

FOLLOW_EVERY_S = 0.5

CONTENT = "models_content"
_EPOCH = "models"


class ModelRegistry:
    """What is published now."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._key = shard.redis, shard.keys.registry
        self._publish = shard.script("publish_registry")

    async def epoch(self) -> int | None:
        """The epoch of what is published; None if nothing is: before the first change, or after Redis was emptied.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            found = await self._redis.hget(self._key, _EPOCH)
        return int(found) if found is not None and found.isdigit() else None

    async def newer_than(self, known: int) -> Registry | None:
        """What is published, if it is newer.

        Raises:
            MalformedMessage: it cannot be read.
            StoreUnavailable: Redis cannot be reached.
        """
        if (await self.epoch() or 0) <= known:
            return None
        with redis_errors():
            found = await self._redis.hget(self._key, CONTENT)
        return None if found is None else decode_registry(found)

    async def publish(self, registry: Registry) -> None:
        """Publish, unless a newer one is published.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await self._publish([self._key], [registry.epoch, registry.encode()])
