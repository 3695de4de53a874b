"""Looking at both stores directly, behind the proxies: has everything come to rest, and what is there?"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from shared.contract.queues import queues_of
from tests.chaos.ledger import Told
from tests.chaos.schedule import Target
from tests.chaos.system import VERSIONS, System
from tests.chaos.verdict import Left, Stored
from tests.waiting import eventually

_ROWS = """
SELECT p.id, m.name, v.version, p.input_data, p.output_data, p.status, p.error
FROM predictions p JOIN model_versions v ON v.id = p.model_version_id JOIN models m ON m.id = v.model_id
"""


async def at_rest(system: System, timeout_s: float) -> None:
    """Wait until nothing is in flight any more; what does not come to rest is for the verdict to say."""
    async with Redis.from_url(system.redis.url, protocol=2) as redis:

        async def rested() -> bool:
            left = await _left(redis, system)
            return not any((*left.lengths.values(), *left.pending.values(), left.states, *left.dead_consumers.values()))

        try:
            await eventually(rested, "everything has come to rest", timeout_s)
        except AssertionError as error:
            print(f"  {error}", flush=True)


async def left_behind(system: System) -> Left:
    """What Redis holds now."""
    async with Redis.from_url(system.redis.url, protocol=2) as redis:
        return await _left(redis, system)


async def stored(system: System) -> list[Stored]:
    """Every row of `predictions`."""
    connection = await asyncpg.connect(system.postgres.url)
    try:
        return [_row(*record) for record in await connection.fetch(_ROWS)]
    finally:
        await connection.close()


def _row(id: UUID, model: str, version: str, given: str, output: str | None, status: str, error: str | None) -> Stored:
    told = Told(status, None if output is None else json.loads(output), error or "")
    return Stored(str(id), model, version, str(json.loads(given).get("text")), told)


async def _left(redis: Any, system: System) -> Left:
    keys = system.keys
    requests = [keys.requests(*queue) for each in VERSIONS for queue in queues_of(*each)]
    groups = [(stream, keys.WORKER_GROUP) for stream in requests] + [(keys.results, keys.PERSISTER_GROUP)]
    streams = {stream: await redis.xinfo_stream(stream) for stream, _ in groups}
    consumers = {stream: await redis.xinfo_consumers(stream, group) for stream, group in groups}
    dead = [fields for _, fields in await redis.xrange(keys.dead)]
    return Left(
        lengths={stream: int(info["length"]) for stream, info in streams.items()},
        pending={stream: sum(int(each["pending"]) for each in found) for stream, found in consumers.items()},
        states=[key.decode() async for key in redis.scan_iter(f"{keys.prediction('')}*", count=1000)],
        dead_consumers={stream: _dead(found, system) for stream, found in consumers.items()},
        dead_letters=[(each.get(b"id", b"").decode(), each[b"reason"].decode()) for each in dead],
        requests_added=sum(int(streams[stream]["entries-added"]) for stream in requests),
        charged=await _charged(redis, system),
        results_added=int(streams[keys.results]["entries-added"]),
    )


async def _charged(redis: Any, system: System) -> dict[str, int]:
    """What waits of each caller, by the hash that its limits are kept in."""
    found = [key.decode() async for key in redis.scan_iter(f"{system.keys.limits('')}*", count=1000)]
    return {key: int(await redis.hget(key, "queued") or 0) for key in found}


def _dead(consumers: Any, system: System) -> int:
    """Consumers whose process no longer runs. Their names are host-pid-random."""
    slots = system.slots[Target.WORKER] + system.slots[Target.PERSISTER]
    alive = {str(slot.service.process.pid) for slot in slots if slot.service.process.poll() is None}
    return sum(each["name"].decode().rsplit("-", 2)[-2] not in alive for each in consumers)
