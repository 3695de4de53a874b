"""The depth of the streams. A request stream's length is exactly its backlog (waiting and running), since finished
entries are deleted and each stream has one group. The group's lag is not used: it is nil once entries are deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.contract.queues import Queue
from shared.streams.known_streams import queues_with_entries
from shared.streams.redis_client import run_pipeline
from shared.streams.redis_errors import is_missing_group, is_missing_stream
from shared.streams.shard import Shard

NO_GROUP = "-"  # no group has this name: XPENDING is meant to fail, so that every stream has three answers


@dataclass(frozen=True, slots=True)
class Depth:
    """One stream: all entries, entries delivered but not finished, and the age of the oldest in seconds."""

    entries: int
    pending: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Redis's memory in bytes; `limit` is 0 if none is set."""

    used: int
    limit: int


class Sample(NamedTuple):
    """What was measured.

    Attributes:
        depths: by stream key.
        queues: those whose streams have entries, whichever were asked for.
    """

    depths: Mapping[str, Depth]
    memory: Memory
    queues: Sequence[Queue]


async def sample(shard: Shard, streams: Mapping[str, str]) -> Sample:
    """Measure streams and memory in one round trip.

    Args:
        streams: the name of the group ('' for none) by stream key.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    async with shard.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.info("memory")
        pipe.hkeys(shard.keys.backlog_bytes)
        for stream, group in streams.items():
            pipe.xlen(stream)
            pipe.xrange(stream, count=1)
            pipe.xpending(stream, group or NO_GROUP)
        (seconds, microseconds), memory, labels, *answers = await run_pipeline(pipe, expected=is_missing_group)
    now_ms = seconds * 1000 + microseconds // 1000
    depths = {}
    for index, stream in enumerate(streams):
        length, first, pending = answers[3 * index : 3 * index + 3]
        depths[stream] = Depth(
            entries=length,
            pending=0 if pending is None else pending["pending"],
            oldest_age_s=max(0, now_ms - int(first[0][0].split(b"-")[0])) / 1000 if first else 0.0,
        )
    return Sample(depths, Memory(used=memory["used_memory"], limit=memory["maxmemory"]), queues_with_entries(labels))


class Flow(NamedTuple):
    """A stream's length, and how many entries were ever added (None if this Redis does not count them)."""

    length: int
    added: int | None


class Flows:
    """Reads the flow of several streams: of those that it is told each time."""

    def __init__(self, shard: Shard, streams: Callable[[], Sequence[str]]) -> None:
        self._redis = shard.redis
        self._streams = streams

    async def look(self) -> dict[str, Flow]:
        """The flow of each stream that exists, in one round trip.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        streams = self._streams()
        async with self._redis.pipeline(transaction=False) as pipe:
            for stream in streams:
                pipe.xinfo_stream(stream)
            answers = await run_pipeline(pipe, expected=is_missing_stream)
        return {
            stream: Flow(answer["length"], answer.get("entries-added"))
            for stream, answer in zip(streams, answers, strict=True)
            if answer is not None
        }
