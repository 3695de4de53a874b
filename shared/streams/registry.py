"""Epochs: numbers in Redis that rise with each change to what gateways read from Postgres, so that they look soon."""

from __future__ import annotations

from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard

EXPERIMENTS = "experiments"


class Registry:
    """The epochs, by the name of what changes."""

    def __init__(self, shard: Shard) -> None:
        self._redis = shard.redis
        self._key = shard.keys.registry

    async def epoch(self, name: str) -> bytes | str | None:
        """The epoch now; None before the first change, and after Redis was emptied.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            return await self._redis.hget(self._key, name)

    async def changed(self, name: str) -> None:
        """Raise the epoch, after the change was committed.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            await self._redis.hincrby(self._key, name, 1)
