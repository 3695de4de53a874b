"""Connecting to Redis, calling the pipeline's Lua scripts, and naming the ways Redis fails.

Retries are left to the callers' own loops, which can be stopped, counted and seen: redis-py's own ten hidden retries
turn a five-second time-out into a minute of silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.contract.errors import StoreUnavailable, is_closed_transport
from shared.service.settings import Settings

_AWAY = ("LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "BUSY ")


def connect(settings: Settings, *, retry_once: bool = False) -> Redis:
    """A client with a connection pool; it connects when first used.

    Args:
        retry_once: repeat a failed command once, on a new connection: for idempotent calls whose pooled connection
            may have been cut since it was last used.
    """
    timeout_s = settings.redis_timeout_ms / 1000
    pool = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(ConstantBackoff(0.05), 1) if retry_once else Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool.connection_class = _PACKING.get(pool.connection_class, pool.connection_class)
    return Redis.from_pool(pool)


class PackingConnection(Connection):
    """A connection that writes commands with hiredis, six times faster than redis-py's own way for our long calls."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command on the wire; its name may have several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


class PackingTlsConnection(PackingConnection, SSLConnection):
    """The same over TLS."""


_PACKING: dict[type, type] = {Connection: PackingConnection, SSLConnection: PackingTlsConnection}


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn a failed connection, and a server that is loading, full or read-only, into `StoreUnavailable`."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise StoreUnavailable("redis", type(error).__name__) from error
    except RuntimeError as error:
        if is_closed_transport(error):
            raise StoreUnavailable("redis", "connection cut") from error
        raise
    except ResponseError as error:
        if is_out_of_memory(error):
            raise StoreUnavailable("redis", "out of memory") from error
        if str(error).startswith(_AWAY):
            raise StoreUnavailable("redis", str(error).split(" ", 1)[0]) from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether Redis refused a command because it is at maxmemory, directly or inside a script."""
    return isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error)


def is_missing_group(error: Exception) -> bool:
    """Whether the stream or its consumer group is gone: Redis was flushed or restored from an older copy."""
    return "NOGROUP" in str(error)


def is_missing_stream(error: Exception) -> bool:
    """Whether the stream is not there, or not any more."""
    return is_missing_group(error) or "no such key" in str(error)


async def run_pipeline(pipe: Any, expected: Callable[[Exception], bool]) -> list[Any]:
    """Run a pipeline's commands; an answer is None if Redis refused that command with an expected error.

    Args:
        pipe: a redis-py pipeline with commands in it.
        expected: tells an error that the caller is prepared for.

    Raises:
        StoreUnavailable: Redis cannot be reached, or cannot answer now.
        ResponseError: Redis refused a command with another error.
    """
    with redis_errors():
        answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not expected(answer):
                raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


class Script:
    """One Lua script of `shared/streams/lua`, sent once and then called by its hash."""

    def __init__(self, redis: Redis, name: str) -> None:
        source = resources.files("shared.streams").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self._script = redis.register_script(source)

    async def __call__(self, keys: Sequence[str], args: Sequence[str | bytes | int | float], client: Any = None) -> Any:
        """Run it, or add it to the pipeline given as `client`.

        Raises:
            StoreUnavailable: Redis cannot be reached or refuses to write.
        """
        with redis_errors():
            return await self._script(keys=keys, args=args, client=client)
