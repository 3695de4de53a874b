"""Telling all gateways that an API key was taken back, so that they need not find out by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard
from shared.streams.subscription import messages


class Revocations:
    """The channel on which that is told."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._channel = shard.redis, shard.keys.principals

    async def tell(self, key_id: str) -> None:
        """Tell that a key was taken back.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            await self._redis.publish(self._channel, key_id)

    async def hear(self) -> AsyncIterator[str | None]:
        """The ids of keys that are taken back, and None now and then; see `messages`.

        Raises:
            StoreUnavailable: the connection is lost.
        """
        async with aclosing(messages(self._redis, self._channel)) as heard:
            async for message in heard:
                yield None if message is None else message.decode(errors="replace")
