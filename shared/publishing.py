"""Publishing requests: the gateway's side of the request streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from redis.asyncio import Redis

from shared.keys import Keys
from shared.redis_client import Script


class Verdict(StrEnum):
    """What became of a group: accepted, or which limit refused it."""

    ACCEPTED = "accepted"
    BACKLOG = "backlog"
    RESULTS = "results"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Limits:
    """Admission limits, in entries and percent of maxmemory."""

    max_backlog: int
    max_results: int
    max_memory_percent: int


class NewRequest(NamedTuple):
    """A request to publish: `input` and `options` are JSON texts, `timeout_ms` runs from its acceptance."""

    id: str
    input: bytes
    options: bytes
    timeout_ms: int
    principal: str = ""
    traceparent: str = ""
    wait: bool = False


Group = Sequence[NewRequest]


class Publisher:
    """Publishes groups of requests in the name of one gateway process."""

    def __init__(self, redis: Redis, keys: Keys, gateway_id: str, limits: Limits) -> None:
        self._keys = keys
        self._gateway_id = gateway_id
        self._limits = limits
        self._script = Script(redis, "publish")

    async def publish(self, model: str, version: str, groups: Sequence[Group]) -> list[Verdict]:
        """Accept or refuse each group as a whole, all in one script call. Idempotent by prediction id.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full; nothing is known of what was accepted.
        """
        limits = self._limits
        keys = [self._keys.requests(model, version), self._keys.results]
        args: list[str | bytes | int] = [
            self._gateway_id,
            limits.max_backlog,
            limits.max_results,
            limits.max_memory_percent,
            model,
            version,
        ]
        for group in groups:
            args.append(len(group))
            for new in group:
                keys.append(self._keys.prediction(new.id))
                args += (
                    new.id,
                    new.input,
                    new.options,
                    new.principal,
                    new.timeout_ms,
                    new.traceparent,
                    1 if new.wait else 0,
                )
        return [Verdict(verdict.decode()) for verdict in await self._script(keys, args)]
