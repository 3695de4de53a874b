"""Which workers are alive and what they serve: heartbeats, and looking them up.

A worker is a consumer of each stream it serves and renews a hash with a TTL, its heartbeat, which says what it serves.
It counts if both say so, so there is no list of workers that could be wrong. A consumer without a heartbeat belongs to
a dead worker; one whose heartbeat does not name the version holds entries of a version that broke in it. A worker that
loads a version is no consumer of its stream yet: for people, all workers with a heartbeat are listed too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple, cast

import orjson

from shared.contract.catalogue import ServedVersion
from shared.contract.costs import Cost, decode_costs
from shared.contract.queues import Queue, queues_of
from shared.contract.schemas import Schemas, decode_schemas
from shared.contract.version_states import VersionState, decode_states
from shared.streams.redis_client import run_pipeline
from shared.streams.redis_errors import is_missing_stream, redis_errors
from shared.streams.shard import Shard

MOST_ERROR_CHARS = 1000
_DETAILS = ("host", "started_at", "in_flight", "states")


class Heartbeat:
    """The heartbeat of one worker."""

    def __init__(self, shard: Shard, worker_id: str, ttl_s: float) -> None:
        self._redis = shard.redis
        self._keys = shard.keys
        self._key, self._worker_id = shard.keys.worker(worker_id), worker_id
        self._beat = shard.script("heartbeat")
        self._ttl_ms = int(ttl_s * 1000)

    async def beat(self, serves: Sequence[str], **facts: str | bytes) -> None:
        """Renew the heartbeat.

        Args:
            serves: the labels of what it serves.
            facts: for people (in flight, since when), `costs` (see `shared.contract.costs`), `states` (see
                `shared.contract.version_states`), and `schemas` (see `shared.contract.schemas`).

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        fields: dict[str, str | bytes] = {"serves": orjson.dumps(serves), **facts}
        about = [self._worker_id, self._ttl_ms, *(part for field in fields.items() for part in field)]
        await self._beat([self._key, self._keys.workers], about)

    async def report_failures(self, failures: Mapping[str, str]) -> None:
        """Say why versions cannot be loaded, by their labels; it is known as long as it is said again.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if failures:
            async with self._redis.pipeline(transaction=False) as pipe:
                for label, why in failures.items():
                    pipe.set(self._keys.load_error(label), why[:MOST_ERROR_CHARS], px=self._ttl_ms)
                await run_pipeline(pipe, expected=lambda _: False)

    async def stop(self) -> None:
        """Remove the heartbeat.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.unlink(self._key)
            pipe.zrem(self._keys.workers, self._worker_id)
            await run_pipeline(pipe, expected=lambda _: False)


class LiveWorkers(NamedTuple):
    """What live workers say of versions, by label.

    Attributes:
        workers: how many serve each.
        costs: what requests have cost them lately: of several workers the average.
        fingerprints: what computes each; without those about which they do not agree.
        all: the workers themselves; None if nobody has asked for them.
    """

    workers: dict[str, int]
    costs: dict[str, Cost]
    fingerprints: dict[str, str]
    all: Sequence[Worker] | None = None


class Worker(NamedTuple):
    """What a live worker says of itself.

    Attributes:
        started_at: in ms since the epoch.
        in_flight: entries that it has read and not finished.
        serves: labels.
        states: how far it is with what it is to serve, by label.
    """

    id: str
    host: str
    started_at: int
    in_flight: int
    serves: Sequence[str]
    states: Mapping[str, VersionState]


class WorkerDirectory:
    """Looks workers up."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._keys = shard.redis, shard.keys
        self._remove = shard.script("remove_consumer")

    async def live(self, versions: Sequence[ServedVersion]) -> dict[str, int]:
        """How many live workers serve each version, by its label.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        consumers = await self._consumers(versions)
        return _counts(versions, consumers, await self._serves(sorted(set().union(*consumers))))

    async def look(self, versions: Sequence[ServedVersion], *, detailed: bool = False) -> LiveWorkers:
        """What live workers say, in two round trips.

        Args:
            detailed: also of those that serve none of the versions (yet), and more of each: see `LiveWorkers.all`.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            self._ask_for_consumers(pipe, _interactive(versions))
            if detailed:
                pipe.zrangebyscore(self._keys.workers, "-inf", "+inf")
            answers = await run_pipeline(pipe, expected=is_missing_stream)
        beating = {each.decode(errors="replace") for each in answers.pop()} if detailed else set()
        consumers = _names_of_consumers(answers)
        serving = set().union(*consumers)
        names = sorted(serving | beating)
        fields = ("serves", "costs", "fingerprints", *(_DETAILS if detailed else ()))
        told = zip(names, await self._told(names, *fields), strict=True)
        alive = {name: each for name, each in told if each[0] is not None}
        own = [each for name, each in alive.items() if name in serving]
        return LiveWorkers(
            _counts(versions, consumers, {name: orjson.loads(each[0] or b"[]") for name, each in alive.items()}),
            _average([decode_costs(each[1]) for each in own]),
            _agreed([orjson.loads(each[2] or b"{}") for each in own]),
            [_worker(name, each[0], *each[3:]) for name, each in alive.items()] if detailed else None,
        )

    async def schemas(self) -> dict[str, Schemas]:
        """What versions take and give, by their labels: of those that a live worker serves and that declare it.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        schemas: dict[str, Schemas] = {}
        for (text,) in await self._told(await self._names(), "schemas"):
            schemas |= decode_schemas(text)
        return schemas

    async def states(self) -> dict[str, dict[str, VersionState]]:
        """How far each live worker is with what it is to serve: by label, then by the worker's id.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        names = await self._names()
        states: dict[str, dict[str, VersionState]] = {}
        for name, (text,) in zip(names, await self._told(names, "states"), strict=True):
            for label, state in decode_states(text).items():
                states.setdefault(label, {})[name] = state
        return states

    async def _names(self) -> list[str]:
        with redis_errors():
            found = cast(list[bytes], await self._redis.zrangebyscore(self._keys.workers, "-inf", "+inf"))
        return sorted(each.decode(errors="replace") for each in found)

    async def load_errors(self, versions: Sequence[ServedVersion]) -> dict[str, str]:
        """Why workers cannot load versions, by their labels; only those that one cannot load.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            errors = await self._redis.mget([self._keys.load_error(each.label) for each in versions])
        return {
            each.label: cast(bytes, error).decode(errors="replace")
            for each, error in zip(versions, errors, strict=True)
            if error is not None
        }

    async def remove_dead(self, version: ServedVersion) -> int:
        """Remove consumers of dead workers that have no pending entries; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        queues = queues_of(version.model, version.version.version)
        consumers = await self._consumers_of(queues)
        alive = await self._serves(sorted(set().union(*consumers)))
        removed = set()
        for queue, names in zip(queues, consumers, strict=True):
            for name in sorted(names - alive.keys()):
                if await self._remove([self._keys.requests(*queue)], [self._keys.WORKER_GROUP, name]):
                    removed.add(name)
        return len(removed)

    async def _consumers(self, versions: Sequence[ServedVersion]) -> list[set[str]]:
        return await self._consumers_of(_interactive(versions))

    async def _consumers_of(self, queues: Sequence[Queue]) -> list[set[str]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            self._ask_for_consumers(pipe, queues)
            return _names_of_consumers(await run_pipeline(pipe, expected=is_missing_stream))

    def _ask_for_consumers(self, pipe: Any, queues: Sequence[Queue]) -> None:
        for each in queues:
            pipe.xinfo_consumers(self._keys.requests(*each), self._keys.WORKER_GROUP)

    async def _serves(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The labels that each of the workers serves now; only those that are alive."""
        answers = zip(names, await self._told(names, "serves"), strict=True)
        return {name: orjson.loads(serves) for name, (serves,) in answers if serves is not None}

    async def _told(self, names: Sequence[str], *fields: str) -> list[list[bytes | None]]:
        """Fields of the heartbeat of each of the workers; None of one that is not alive."""
        if not names:
            return []
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(self._keys.worker(name), list(fields))
                return list(await pipe.execute())


def _interactive(versions: Sequence[ServedVersion]) -> list[Queue]:
    """The queues whose consumers say who serves a version: workers join them last."""
    return [Queue(each.model, each.version.version) for each in versions]


def _names_of_consumers(answers: Sequence[Any]) -> list[set[str]]:
    """Of each stream; without a group nobody serves its version."""
    return [{info["name"].decode() for info in answer or ()} for answer in answers]


def _worker(
    name: str,
    serves: bytes | None,
    host: bytes | None,
    started_at: bytes | None,
    in_flight: bytes | None,
    states: bytes | None,
) -> Worker:
    return Worker(
        name,
        (host or b"").decode(errors="replace"),
        _number(started_at),
        _number(in_flight),
        orjson.loads(serves or b"[]"),
        decode_states(states),
    )


def _number(told: bytes | None) -> int:
    return int(told) if told and told.isdigit() else 0


def _counts(
    versions: Sequence[ServedVersion], consumers: Sequence[set[str]], serves: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    return {
        version.label: sum(version.label in serves.get(name, ()) for name in each)
        for version, each in zip(versions, consumers, strict=True)
    }


def _average(told: Sequence[Mapping[str, Cost]]) -> dict[str, Cost]:
    labels = set().union(*told)
    costs = {label: [each[label] for each in told if label in each] for label in labels}
    return {label: Cost(*map(mean, zip(*found, strict=True))) for label, found in costs.items()}


def _agreed(told: Sequence[Mapping[str, str]]) -> dict[str, str]:
    labels = set().union(*told)
    found = {label: {str(each[label]) for each in told if label in each} for label in labels}
    return {label: next(iter(only)) for label, only in found.items() if len(only) == 1}
