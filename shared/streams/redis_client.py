"""Connecting to Redis, and running Lua scripts and pipelines.

Retries are left to the callers' loops, which can be stopped and counted (except one, see `connect`): redis-py's own
ten hidden retries turn a timeout of five seconds into a minute of silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from shared.service.settings import Settings
from shared.streams.redis_errors import redis_errors, wants_reconnect

MOST_CONNECTIONS = 200


def connect(settings: Settings, *, retry_once: bool = False, most_connections: int = MOST_CONNECTIONS) -> Redis:
    """A client with a connection pool; it connects on first use, and whoever finds no free connection waits for one.

    Args:
        most_connections: at a time.
        retry_once: repeat a failed command once, on a new connection: for idempotent calls, since a pooled connection
            may have been cut since its last use.
    """
    timeout_s = settings.redis_timeout_ms / 1000
    pool = QuickPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=most_connections,
        timeout=timeout_s,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(ConstantBackoff(0.05), 1) if retry_once else Retry(NoBackoff(), 0),
        health_check_interval=0,
        driver_info=None,  # else two commands more for each connection, which its user may not run
    )
    pool.connection_class = _PACKING.get(pool.connection_class, pool.connection_class)
    return Redis.from_pool(pool)


class PackingConnection(Connection):
    """For speed, encodes commands with hiredis: six times faster than redis-py for our long calls."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The encoded command; its name may have several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send; for speed without the timer and the task that waiting takes, if the socket takes all of it at once."""
        if self._writer is None or not isinstance(command, list):
            return await super().send_packed_command(command, check_health)
        self._writer.writelines(command)
        if self._writer.transport.get_write_buffer_size():
            await super().send_packed_command([], check_health)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """The next answer; after one that means that this is the wrong server, the connection is closed.

        An error is told whose it is, since Redis itself does not always name the user that lacks a right.
        """
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            error.user = self.username or "default"  # type: ignore[attr-defined]
            if wants_reconnect(error):
                await self.disconnect(nowait=True)
            raise


class PackingTlsConnection(PackingConnection, SSLConnection):
    """The same, over TLS."""


class QuickPool(BlockingConnectionPool):
    """For speed, gives and takes a connection without a condition and a timer as long as nobody waits for one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting = 0

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is connected.

        Raises:
            redis.exceptions.ConnectionError: none was free in time, or it cannot be connected.
        """
        if self._waiting or not self._available_connections:
            self._waiting += 1
            try:
                return await super().get_connection()  # type: ignore[no-untyped-call]
            finally:
                self._waiting -= 1
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if self._waiting:
            await super().release(connection)
        else:
            await ConnectionPool.release(self, connection)


_PACKING: dict[type, type] = {Connection: PackingConnection, SSLConnection: PackingTlsConnection}


async def run_pipeline(pipe: Any, expected: Callable[[Exception], bool], script: str = "") -> list[Any]:
    """Run a pipeline; an answer is None if its command failed with an expected error.

    Args:
        pipe: a redis-py pipeline with commands in it.
        expected: whether the caller is prepared for an error.
        script: the source of a script that is run in it.

    Raises:
        StoreUnavailable: Redis cannot be reached or cannot serve now.
        ResponseError: a command failed with another error.
    """
    with redis_errors(script):
        answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not expected(answer):
                raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def script_source(name: str) -> str:
    """A script of `shared/streams/lua`; its line `-- include X` stands for the script X."""
    text = resources.files("shared.streams").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    return re.sub(r"^-- include (\w+)$", lambda line: script_source(line[1]), text, flags=re.MULTILINE)


class Script:
    """A Lua script of `shared/streams/lua`, loaded into Redis once and then called by its hash."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._source = script_source(name)
        self._script = redis.register_script(self._source)

    async def __call__(self, keys: Sequence[str], args: Sequence[str | bytes | int | float], client: Any = None) -> Any:
        """Run it, or add it to the pipeline `client`.

        Raises:
            StoreUnavailable: Redis cannot be reached or cannot serve now.
        """
        with redis_errors(self._source):
            return await self._script(keys=keys, args=args, client=client)

    async def each(self, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int | float]]]) -> list[Any]:
        """Run it several times in one round trip; in more if it is not loaded yet, as after a restart of Redis.

        Args:
            calls: the keys and arguments of each. No answer may be nil.

        Raises:
            StoreUnavailable: Redis cannot be reached or cannot serve now.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.evalsha(self._script.sha, len(keys), *keys, *args)
            answers = await run_pipeline(pipe, lambda error: isinstance(error, NoScriptError), self._source)
        return [await self(*call) if answer is None else answer for call, answer in zip(calls, answers, strict=True)]
