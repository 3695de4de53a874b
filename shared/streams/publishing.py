"""Publishing requests: the gateway's side of the request streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from redis.asyncio import Redis

from shared.contract.keys import Keys
from shared.streams.redis_client import Script


class Verdict(StrEnum):
    """What became of a group: accepted, or which limit refused it."""

    ACCEPTED = "accepted"
    BACKLOG = "backlog"
    RESULTS = "results"
    MEMORY = "memory"
    CONFLICT = "conflict"


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


class Group(NamedTuple):
    """Requests that are accepted together or not at all.

    Attributes:
        idempotency_key: a caller's key: repeating it with the same body makes nothing new; '' for none.
        fingerprint: a digest of the body; needed beside a key.
    """

    requests: Sequence[NewRequest]
    idempotency_key: str = ""
    fingerprint: str = ""


class Published(NamedTuple):
    """What became of a group; `earlier` has the ids that its idempotency key already stood for."""

    verdict: Verdict
    earlier: Sequence[str] = ()


_ACCEPTED = Published(Verdict.ACCEPTED)
_REFUSALS = frozenset(Verdict) - {Verdict.ACCEPTED}


class Publisher:
    """Publishes groups of requests in the name of one gateway process."""

    def __init__(
        self, redis: Redis, keys: Keys, gateway_id: str, limits: Limits, idempotency_ttl_ms: int = 86_400_000
    ) -> None:
        self._keys = keys
        self._script = Script(redis, "publish")
        self._settings = (
            gateway_id,
            limits.max_backlog,
            limits.max_results,
            limits.max_memory_percent,
        )
        self._ttl_ms = idempotency_ttl_ms

    async def publish(self, model: str, version: str, groups: Sequence[Group]) -> list[Published]:
        """Accept or refuse each group as a whole, all in one script call. Idempotent by prediction id.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full; nothing is known of what was accepted.
        """
        keys = [self._keys.requests(model, version), self._keys.results]
        args: list[str | bytes | int] = [*self._settings, model, version, self._ttl_ms]
        for group in groups:
            args += (len(group.requests), group.fingerprint if group.idempotency_key else "")
            if group.idempotency_key:
                keys.append(self._keys.idempotency(group.requests[0].principal, group.idempotency_key))
            for new in group.requests:
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
        answers = await self._script(keys, args)
        return [_published(answer, group) for answer, group in zip(answers, groups, strict=True)]


def _published(answer: bytes, group: Group) -> Published:
    if answer == b"accepted":
        return _ACCEPTED
    text = answer.decode()
    if text in _REFUSALS:
        return Published(Verdict(text))
    ids = text.split(",")
    mine = ids == [new.id for new in group.requests]  # a client library's retry of this very publish
    return _ACCEPTED if mine else Published(Verdict.ACCEPTED, ids)
