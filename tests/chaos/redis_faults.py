"""A Redis that answers wrongly: what operators, full disks and failovers do to it."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from scripts.stack.redis import AppendFsync, RedisServer
from tests.chaos.clock import JUMP_S, Clock
from tests.chaos.repeating import again_and_again
from tests.chaos.schedule import Action
from tests.waiting import eventually

_AGAIN_S = 0.2


class BreakableRedis(RedisServer):
    """A Redis whose clock can jump, and which a file that may not grow does not kill."""

    def __init__(self, directory: Path, port: int, appendfsync: AppendFsync, program: Path | None = None) -> None:
        super().__init__(directory, port, appendfsync=appendfsync, program=program)
        self.appendfsync = appendfsync
        self.clock = Clock(directory.with_name("redis-clock"))
        self._clock_jumps = program is None

    def command(self) -> list[str]:
        clock = self.clock.environment if self._clock_jumps else {}
        environment = [f"{name}={value}" for name, value in clock.items()]
        return ["env", *environment, "sh", "-c", 'trap "" XFSZ; exec "$0" "$@"', *super().command()]


@asynccontextmanager
async def demoted(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """A replica of a server that is not there."""
    await redis.replicaof("127.0.0.1", "1")
    yield
    await redis.replicaof("NO", "ONE")


@asynccontextmanager
async def cannot_save(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Its snapshot fails, since a folder has the snapshot's name: MISCONF for every write."""
    in_the_way = server.directory / "dump.rdb"
    in_the_way.mkdir()
    await redis.config_set("save", "3600 1000000000")
    await redis.bgsave()

    async def failed() -> bool:
        return str((await redis.info("persistence"))["rdb_last_bgsave_status"]) == "err"

    await eventually(failed, "the snapshot fails")
    yield
    in_the_way.rmdir()
    await redis.config_set("save", "")


@asynccontextmanager
async def disk_full(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Its append-only file cannot grow. (With `appendfsync always` Redis would end itself instead of saying so.)"""
    assert server.process is not None
    pid = server.process.pid
    await redis.config_set("appendfsync", "everysec")
    size = max(each.stat().st_size for each in (server.directory / "appendonlydir").iterdir())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    async def written() -> bool:
        return str((await redis.info("persistence"))["aof_last_write_status"]) == "ok"

    await eventually(written, "the file grows again")
    await redis.config_set("appendfsync", server.appendfsync)


@asynccontextmanager
async def clients_killed(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Every connection is ended, those that wait in a blocking read too, again and again."""

    async with again_and_again(lambda: _kill_clients(redis), _AGAIN_S):
        yield


@asynccontextmanager
async def exhausted(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Nobody may connect."""
    before = (await redis.config_get("maxclients"))["maxclients"]
    await redis.config_set("maxclients", 1)
    await _kill_clients(redis)
    yield
    await redis.config_set("maxclients", before)


@asynccontextmanager
async def jumped(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Its clock is ahead, and then back again."""
    server.clock.jump(JUMP_S)
    yield
    server.clock.jump(0)


@asynccontextmanager
async def paused(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """No command is run; connections stay."""

    async def pause() -> None:
        await redis.execute_command("CLIENT", "PAUSE", 500, "ALL")  # the next one waits for the end of this

    async with again_and_again(pause, 0):
        yield


@asynccontextmanager
async def busy(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """Someone's script does not end: BUSY."""
    await redis.config_set("busy-reply-threshold", 100)
    async with Redis.from_url(server.url, protocol=2, socket_timeout=None) as other:
        script: asyncio.Task[Any] = asyncio.create_task(other.eval("while true do end", 0))  # type: ignore[arg-type]
        yield
        await redis.script_kill()
        await asyncio.wait({script})


@asynccontextmanager
async def full(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """More is in it than `maxmemory`: OOM for whatever may take memory."""
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1)
    yield
    await redis.config_set("maxmemory", before)


@asynccontextmanager
async def forbidden(redis: Any, server: BreakableRedis) -> AsyncIterator[None]:
    """The services' user may neither read streams nor run scripts: NOPERM."""
    await redis.execute_command("ACL", "SETUSER", "default", "-xreadgroup", "-evalsha", "-subscribe")
    yield
    await redis.execute_command("ACL", "SETUSER", "default", "+@all")


async def _kill_clients(redis: Any) -> None:
    for kind in ("normal", "pubsub"):
        await redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


_WAYS: Mapping[Action, Callable[[Any, BreakableRedis], AbstractAsyncContextManager[None]]] = {
    Action.DEMOTE: demoted,
    Action.CANNOT_SAVE: cannot_save,
    Action.DISK_FULL: disk_full,
    Action.KILL_CLIENTS: clients_killed,
    Action.EXHAUST: exhausted,
    Action.CLOCK: jumped,
    Action.CLIENT_PAUSE: paused,
    Action.BUSY: busy,
    Action.FULL: full,
    Action.NO_RIGHT: forbidden,
}


@asynccontextmanager
async def broken_redis(server: BreakableRedis, action: Action) -> AsyncIterator[None]:
    """Broken in this way for the length of the block."""
    async with Redis.from_url(server.url, protocol=2, decode_responses=True) as redis:
        async with _WAYS[action](redis, server):
            yield
