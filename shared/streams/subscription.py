"""Listening to a channel of Redis: messages as they come, and the end of a connection even if nobody tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from redis.asyncio import Redis

from shared.streams.redis_errors import redis_errors
from shared.streams.silence import Silence

QUIET_S = 0.25


async def messages(redis: Redis, channel: str) -> AsyncGenerator[bytes | None, None]:
    """What is published, as it arrives; None once subscribed and after `QUIET_S` without any: the caller can act.

    Raises:
        StoreUnavailable: the connection is lost; what is published meanwhile is lost too.
    """
    clock = asyncio.get_running_loop().time
    with redis_errors():
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            subscribed = False
            silence = Silence(QUIET_S)
            while True:
                began = clock()
                message = await pubsub.get_message(timeout=QUIET_S)
                if message is not None:
                    silence.broken()
                elif silence.goes_on(clock() - began):
                    await pubsub.ping()
                subscribed = subscribed or (message is not None and message["type"] == "subscribe")
                if message is not None and message["type"] == "message":
                    yield message["data"]
                elif subscribed:
                    yield None
