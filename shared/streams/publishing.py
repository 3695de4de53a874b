"""Publishing requests: the gateway's side of the request streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from shared.contract.errors import StoreUnavailable
from shared.contract.ids import read_batch
from shared.contract.limits import CallerLimits, Used
from shared.contract.messages import EXPERIMENT_FIELDS, SCHEMA
from shared.contract.queues import Priority
from shared.streams.result_cache import CachedResult
from shared.streams.shard import Shard

# For speed, not each publish looks how much memory is in use: that takes a third of Redis's time for a lone one.
LOOK_EVERY_S = 0.1
LOOK_EVERY_BYTES = 1_000_000


class Verdict(StrEnum):
    """What happened to a group: accepted, or why it was refused."""

    ACCEPTED = "accepted"
    BACKLOG = "backlog"
    BACKLOG_BYTES = "backlog_bytes"
    RESULTS = "results"
    MEMORY = "memory"
    IDEMPOTENCY = "idempotency"
    CONFLICT = "conflict"
    CALLER_REQUESTS = "caller_requests"
    CALLER_COMPUTE = "caller_compute"
    CALLER_QUEUED = "caller_queued"
    CALLER_QUEUED_BYTES = "caller_queued_bytes"


REFUSALS = {
    Verdict.BACKLOG: "too many requests are waiting for this model version",
    Verdict.BACKLOG_BYTES: "too many bytes are waiting for this model version",
    Verdict.RESULTS: "too many results are waiting to be stored",
    Verdict.MEMORY: "the queue is low on memory",
    Verdict.IDEMPOTENCY: "too many idempotency keys are remembered",
}
# What refuses one caller, and nobody else.
CALLER_VERDICTS = (
    Verdict.CALLER_REQUESTS,
    Verdict.CALLER_COMPUTE,
    Verdict.CALLER_QUEUED,
    Verdict.CALLER_QUEUED_BYTES,
)


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
        cost_us: compute that is reserved for it, if its caller has limits.
        answer: its result, if it was computed before: then it does not wait, and its result is stored at once.
        experiment_id, arm, shadow_of, shadow_for: see `shared.contract.messages.PredictionResult`; only with a
            `subject_id`.
        stored_input: JSON text that is kept in the place of input and options once it has ended; '' to keep them.
        tags: JSON text, see `shared.contract.tags`; '' for none.
        callback_url: where to tell that it has finished; '' for nowhere.
    """

    id: str
    input: bytes
    options: bytes
    timeout_ms: int
    principal: str = ""
    traceparent: str = ""
    wait: bool = False
    cost_us: int = 0
    answer: CachedResult | None = None
    experiment_id: str = ""
    arm: str = ""
    subject_id: str = ""
    shadow_of: str = ""
    shadow_for: str = ""
    stored_input: bytes = b""
    tags: bytes = b""
    callback_url: str = ""

    @property
    def bytes(self) -> int:
        """What it counts in MAX_BACKLOG_BYTES."""
        return len(self.input) + len(self.options) + len(self.stored_input)


_OWN_FIELDS = ("id", "input", "options", "principal", "traceparent")  # fields that differ between requests
_RARE_FIELDS = ("stored_input", "tags", "callback_url")  # those which a publish leaves out if no request in it has them
_ALL_OWN_FIELDS = (*_OWN_FIELDS, *EXPERIMENT_FIELDS)
_VALUES = {names: attrgetter(*names) for names in (_OWN_FIELDS, _ALL_OWN_FIELDS)}


class Group(NamedTuple):
    """Requests that are accepted together or not at all.

    Attributes:
        idempotency_key: the caller's; repeating it with the same body publishes nothing new; '' for none.
        fingerprint: a digest of the body; required with a key.
        batch: what the ids of the requests were made from (see `shared.contract.ids`); required with a key.
        limits: those of their principal, who is the same for all; None for none.
    """

    requests: Sequence[NewRequest]
    idempotency_key: str = ""
    fingerprint: str = ""
    batch: str = ""
    limits: CallerLimits | None = None


class Published(NamedTuple):
    """What happened to a group.

    Attributes:
        earlier: the ids of an earlier request with its idempotency key.
        used: what its caller has used, this group included if it was accepted; None if it has no limits.
    """

    verdict: Verdict
    earlier: Sequence[str] = ()
    used: Used | None = None


_ACCEPTED = Published(Verdict.ACCEPTED)


class Publisher:
    """Publishes groups of requests for one gateway process."""

    def __init__(
        self,
        shard: Shard,
        gateway_id: str,
        limits: Limits,
        idempotency_ttl_ms: int = 86_400_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = shard.keys
        self._script = shard.script("publish")
        self._settings = (
            gateway_id,
            limits.max_backlog,
            limits.max_backlog_bytes,
            limits.max_results,
            limits.max_idempotency_bytes,
            idempotency_ttl_ms,
        )
        self._max_memory_percent, self._clock = limits.max_memory_percent, clock
        self._next_look, self._bytes_until_look = 0.0, 0

    async def publish(
        self, model: str, version: str, groups: Sequence[Group], priority: Priority = Priority.INTERACTIVE
    ) -> list[Published]:
        """Publish groups, each accepted or refused as a whole, in one script call. Idempotent by prediction id.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full; it is unknown what was accepted.
        """
        keys = [
            self._keys.requests(model, version, priority),
            self._keys.results,
            self._keys.backlog_bytes,
            self._keys.deadlines,
            self._keys.idempotency_bytes,
        ]
        common: dict[str, str | int] = {"schema": SCHEMA, "attempt": 0, "model": model, "version": version}
        if priority is not Priority.INTERACTIVE:
            common["priority"] = priority.value
        args: list[str | bytes | int] = [
            *self._settings,
            self._memory_percent(sum(new.bytes for group in groups for new in group.requests)),
            len(common),
            *chain.from_iterable(common.items()),
        ]
        limited = any(group.limits is not None for group in groups)  # for speed: without limits, entries have no cost
        new_requests = [new for group in groups for new in group.requests]
        names = _ALL_OWN_FIELDS if any(new.subject_id for new in new_requests) else _OWN_FIELDS
        own_values = _VALUES[names]
        rare = [name for name in _RARE_FIELDS if any(map(attrgetter(name), new_requests))]
        own_fields = (*names, *rare, *(("cost",) if limited else ()))
        args += (len(own_fields), *own_fields)
        answers = [(new.id, new.answer) for new in new_requests if new.answer is not None]
        args.append(len(answers))
        for prediction_id, answer in answers:
            args += (prediction_id, answer.result, "" if answer.confidence is None else repr(answer.confidence))
        for group in groups:
            principal, limits = group.requests[0].principal, group.limits
            args += (len(group.requests), group.fingerprint if group.idempotency_key else "")
            if group.idempotency_key:
                keys.append(self._keys.idempotency(principal, group.idempotency_key))
                args.append(group.batch)
            if limits is None:
                args.append(0)
            else:
                keys.append(self._keys.limits(principal))
                args += (1, *_numbers(limits, len(group.requests)))
            for new in group.requests:
                keys.append(self._keys.prediction(new.id))
                args += (new.timeout_ms, 1 if new.wait else 0, *own_values(new))
                args += [getattr(new, name) for name in rare]
                if limited:
                    args.append("" if limits is None else new.cost_us)
        told = await self._told(keys, args)
        published = [_published(each, group) for each, group in zip(told, groups, strict=True)]
        if any(each.verdict is Verdict.MEMORY for each in published):
            self._next_look = 0.0  # the next looks again
        return published

    async def _told(self, keys: Sequence[str], args: list[str | bytes | int]) -> Any:
        """What the script answers; once more if Redis was full and had not been asked: then it has done nothing."""
        percent_at = len(self._settings)
        try:
            return await self._script(keys, args)
        except StoreUnavailable as error:
            if error.reason != "out_of_memory" or args[percent_at] != -1:
                raise
        args[percent_at] = self._max_memory_percent
        return await self._script(keys, args)

    def _memory_percent(self, size: int) -> int:
        """How much of the memory may be in use for a publish of so many bytes; -1 if it need not look."""
        self._bytes_until_look -= size
        if self._clock() < self._next_look and self._bytes_until_look >= 0:
            return -1
        self._next_look, self._bytes_until_look = self._clock() + LOOK_EVERY_S, LOOK_EVERY_BYTES
        return self._max_memory_percent


def _numbers(limits: CallerLimits, requests: int) -> tuple[str | int, ...]:
    """What the script is told of a caller's limits."""
    rates = [
        number
        for rate in (limits.requests, limits.compute_ms)
        for number in ((0, 0) if rate is None else (repr(rate.interval_ms), repr(rate.window_s * 1000)))
    ]
    most = [-1 if each is None else each for each in (limits.queued, limits.queued_bytes)]
    return (repr(requests * limits.weight), *rates, *most)


def _published(answer: bytes | Sequence[bytes], group: Group) -> Published:
    if answer == b"accepted":
        return _ACCEPTED
    if not isinstance(answer, bytes):
        verdict, requests_ms, compute_ms, queued, queued_bytes = answer
        used = Used(float(requests_ms), float(compute_ms), int(queued), int(queued_bytes))
        return _published(verdict, group)._replace(used=used)
    text = answer.decode()
    if text in REFUSALS or text == Verdict.CONFLICT or text in CALLER_VERDICTS:
        return Published(Verdict(text))
    mine = text == group.batch  # this publish was retried by the client library
    return _ACCEPTED if mine else Published(Verdict.ACCEPTED, read_batch(text).ids())
