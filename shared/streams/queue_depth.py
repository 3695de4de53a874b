"""How full the streams are. The length of a request stream is its backlog exactly (waiting and running): finished
entries are deleted and each stream has one group. The group's lag is not used: with deleted entries it goes nil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.streams.redis_client import redis_errors


@dataclass(frozen=True, slots=True)
class Depth:
    """One stream: entries in it, entries handed out and not finished, and the age of the oldest in seconds."""

    entries: int
    pending: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Redis's memory in bytes; `limit` is 0 where none is set."""

    used: int
    limit: int


async def sample(redis: Redis, streams: Mapping[str, str]) -> tuple[dict[str, Depth], Memory]:
    """Look at streams and memory in one round trip.

    Args:
        streams: stream keys with the name of their group ('' for none).

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    with redis_errors():
        async with redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.info("memory")
            for stream, group in streams.items():
                pipe.xlen(stream)
                pipe.xrange(stream, count=1)
                pipe.xpending(stream, group or "-")
            answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                raise answer
    seconds, microseconds = answers[0]
    now_ms = seconds * 1000 + microseconds // 1000
    depths = {}
    for index, stream in enumerate(streams):
        length, first, pending = answers[2 + 3 * index : 5 + 3 * index]
        depths[stream] = Depth(
            entries=length if isinstance(length, int) else 0,
            pending=0 if isinstance(pending, ResponseError) else pending["pending"],
            oldest_age_s=max(0, now_ms - int(first[0][0].split(b"-")[0])) / 1000 if first else 0.0,
        )
    memory = answers[1]
    return depths, Memory(used=memory["used_memory"], limit=memory["maxmemory"])


class Flow(NamedTuple):
    """A stream's length, and how many entries were ever added to it; None where Redis does not count them."""

    length: int
    added: int | None


class Flows:
    """Looks at the flow of several streams."""

    def __init__(self, redis: Redis, streams: Sequence[str]) -> None:
        self._redis = redis
        self._streams = streams

    async def look(self) -> dict[str, Flow]:
        """The flow of each stream that exists, in one round trip.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for stream in self._streams:
                    pipe.xinfo_stream(stream)
                answers = await pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                    raise answer
        return {
            stream: Flow(answer["length"], answer.get("entries-added"))
            for stream, answer in zip(self._streams, answers, strict=True)
            if not isinstance(answer, ResponseError)
        }
