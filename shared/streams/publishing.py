"""Publishing requests: the gateway's side of the request streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from shared.contract.ids import read_batch
from shared.contract.messages import SCHEMA
from shared.streams.shard import Shard


class Verdict(StrEnum):
    """What happened to a group: accepted, or why it was refused."""

    ACCEPTED = "accepted"
    BACKLOG = "backlog"
    BACKLOG_BYTES = "backlog_bytes"
    RESULTS = "results"
    MEMORY = "memory"
    IDEMPOTENCY = "idempotency"
    CONFLICT = "conflict"


REFUSALS = {
    Verdict.BACKLOG: "too many requests are waiting for this model version",
    Verdict.BACKLOG_BYTES: "too many bytes are waiting for this model version",
    Verdict.RESULTS: "too many results are waiting to be stored",
    Verdict.MEMORY: "the queue is low on memory",
    Verdict.IDEMPOTENCY: "too many idempotency keys are remembered",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Admission limits.

    Attributes:
        max_backlog, max_backlog_bytes: entries of one version, and bytes of their inputs and options.
        max_results: entries.
        max_memory_percent: percent of maxmemory.
        max_idempotency_bytes: bytes of all records of idempotency keys.
    """

    max_backlog: int
    max_backlog_bytes: int
    max_results: int
    max_memory_percent: int
    max_idempotency_bytes: int


class NewRequest(NamedTuple):
    """A request to publish.

    Attributes:
        input, options: JSON texts.
        timeout_ms: time from acceptance until it expires.
        wait: whether the gateway wants a hint when it finishes.
    """

    id: str
    input: bytes
    options: bytes
    timeout_ms: int
    principal: str = ""
    traceparent: str = ""
    wait: bool = False


_OWN_FIELDS = ("id", "input", "options", "principal", "traceparent")  # fields that differ between requests
_own_values = attrgetter(*_OWN_FIELDS)


class Group(NamedTuple):
    """Requests that are accepted together or not at all.

    Attributes:
        idempotency_key: the caller's; repeating it with the same body publishes nothing new; '' for none.
        fingerprint: a digest of the body; required with a key.
        batch: what the ids of the requests were made from (see `shared.contract.ids`); required with a key.
    """

    requests: Sequence[NewRequest]
    idempotency_key: str = ""
    fingerprint: str = ""
    batch: str = ""


class Published(NamedTuple):
    """What happened to a group; `earlier` holds the ids of an earlier request with its idempotency key."""

    verdict: Verdict
    earlier: Sequence[str] = ()


_ACCEPTED = Published(Verdict.ACCEPTED)


class Publisher:
    """Publishes groups of requests for one gateway process."""

    def __init__(self, shard: Shard, gateway_id: str, limits: Limits, idempotency_ttl_ms: int = 86_400_000) -> None:
        self._keys = shard.keys
        self._script = shard.script("publish")
        self._settings = (
            gateway_id,
            limits.max_backlog,
            limits.max_backlog_bytes,
            limits.max_results,
            limits.max_memory_percent,
            limits.max_idempotency_bytes,
            idempotency_ttl_ms,
        )

    async def publish(self, model: str, version: str, groups: Sequence[Group]) -> list[Published]:
        """Publish groups, each accepted or refused as a whole, in one script call. Idempotent by prediction id.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full; it is unknown what was accepted.
        """
        keys = [
            self._keys.requests(model, version),
            self._keys.results,
            self._keys.backlog_bytes,
            self._keys.deadlines,
            self._keys.idempotency_bytes,
        ]
        common: dict[str, str | int] = {"schema": SCHEMA, "attempt": 0, "model": model, "version": version}
        args: list[str | bytes | int] = [
            *self._settings,
            len(common),
            *chain.from_iterable(common.items()),
        ]
        args += (len(_OWN_FIELDS), *_OWN_FIELDS)
        for group in groups:
            args += (len(group.requests), group.fingerprint if group.idempotency_key else "")
            if group.idempotency_key:
                keys.append(self._keys.idempotency(group.requests[0].principal, group.idempotency_key))
                args.append(group.batch)
            for new in group.requests:
                keys.append(self._keys.prediction(new.id))
                args += (new.timeout_ms, 1 if new.wait else 0, *_own_values(new))
        answers = await self._script(keys, args)
        return [_published(answer, group) for answer, group in zip(answers, groups, strict=True)]


def _published(answer: bytes, group: Group) -> Published:
    if answer == b"accepted":
        return _ACCEPTED
    text = answer.decode()
    if text in REFUSALS or text == Verdict.CONFLICT:
        return Published(Verdict(text))
    mine = text == group.batch  # this publish was retried by the client library
    return _ACCEPTED if mine else Published(Verdict.ACCEPTED, read_batch(text).ids())
