"""A request stream of one model version, as a worker uses it: read, claim, renew, finish, release.

The life of an entry: `read` puts it into this consumer's pending list. It leaves the stream through either `complete`
or `dead_letter`, whose scripts delete the entry first and go on only if that succeeded, so that one outcome is recorded
whatever two workers believe. A worker that dies leaves its entries pending, and any other can `claim` them after the
visibility timeout. A worker that is merely slow keeps its entries with `renew`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.contract.ids import is_id
from shared.contract.keys import request_stream_name
from shared.contract.messages import OUTCOME_FIELDS, Outcome, PredictionRequest, encode_outcome, readable
from shared.contract.queues import Priority, Queue
from shared.streams.redis_client import Script, run_pipeline
from shared.streams.redis_errors import is_missing_group, redis_errors
from shared.streams.shard import Shard

HINT_MAX_BYTES = 16_384


class Delivery(NamedTuple):
    """An entry delivered to this consumer; `deliveries` includes this one."""

    entry: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1


class Completed(NamedTuple):
    """A request with its outcome."""

    delivery: Delivery
    request: PredictionRequest
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Read:
    """The entries of one read, and Redis's clock right after it, in ms since the epoch."""

    deliveries: Sequence[Delivery]
    now_ms: int


class RequestStream:
    """One of the streams of a model version, its group and this consumer.

    Attributes:
        queue: whose stream it is.
        name: its logical name, which both have.
    """

    def __init__(
        self, shard: Shard, model: str, version: str, consumer: str, priority: Priority = Priority.INTERACTIVE
    ) -> None:
        self.model = model
        self.version = version
        self.queue = Queue(model, version, priority)
        self.key = shard.keys.requests(*self.queue)
        self.name = request_stream_name(model, version)
        self._redis, self._keys = shard.redis, shard.keys
        self._consumer = consumer
        self._group = shard.keys.WORKER_GROUP
        self._join = shard.script("join")
        self._complete = shard.script("complete")
        self._dead_letter = shard.script("dead_letter")
        self._claim = shard.script("claim")
        self._renew = shard.script("renew")
        self._release = shard.script("release")
        self._count_delivery = shard.script("count_delivery")
        self._remove = shard.script("remove_consumer")

    async def join(self) -> None:
        """Create the stream, its group and this consumer, which marks the worker as serving this version."""
        await self._join([self.key], [self._group, self._consumer])

    async def read(self, count: int, block_ms: int) -> Read:
        """Up to `count` entries that nobody has read yet; waits at most `block_ms` for the first.

        Never cancel this call: an entry that arrives while a blocked read is cancelled is stranded in the pending list.
        Check the stop flag between reads instead. A missing group is recreated.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xreadgroup(
                self._group, self._consumer, {self.key: ">"}, count=count, block=block_ms if block_ms > 0 else None
            )
            pipe.time()
            answer, (seconds, microseconds) = await run_pipeline(pipe, expected=is_missing_group)
        if answer is None:
            await self.join()
        entries = answer[0][1] if answer else []
        now_ms = seconds * 1000 + microseconds // 1000
        return Read([Delivery(entry.decode(), fields) for entry, fields in entries], now_ms)

    async def claim(self, visibility_timeout_ms: int, count: int) -> Read:
        """Claim abandoned entries: up to `count`, but one that was delivered before comes alone.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        try:
            now_ms, claimed = await self._claim([self.key], [self._group, self._consumer, visibility_timeout_ms, count])
        except ResponseError:  # the group is missing
            await self.join()
            return Read([], 0)
        return Read([claimed_delivery(each) for each in claimed], now_ms)

    async def unheld(self, entries: Sequence[str], visibility_timeout_ms: int) -> tuple[Read, list[str]]:
        """Those of the entries that no live worker holds; and which of them are not in the stream any more.

        An entry that a worker has read counts as held while its claim is renewed within the visibility timeout.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for entry in entries:
                pipe.xrange(self.key, entry, entry)
                pipe.xpending_range(self.key, self._group, entry, entry, 1)
            (seconds, microseconds), *answers = await run_pipeline(pipe, expected=is_missing_group)
        unheld, gone = [], []
        for entry, found, pending in zip(entries, answers[::2], answers[1::2], strict=True):
            if not found:
                gone.append(entry)
            elif not pending or pending[0]["time_since_delivered"] > visibility_timeout_ms:
                unheld.append(Delivery(entry, found[0][1], 0))
        return Read(unheld, seconds * 1000 + microseconds // 1000), gone

    async def reserved_us(self, entry: str) -> int:
        """The compute that was reserved for an entry, in microseconds; 0 if it is gone, or nobody is charged for it.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            found: Any = await self._redis.xrange(self.key, entry, entry)
        cost = found[0][1].get(b"cost", b"") if found else b""
        return int(cost) if cost.isdigit() else 0

    async def renew(self, entries: Sequence[str]) -> int:
        """Renew the claims on entries that are still being computed; returns how many this worker still owned."""
        return await self._of_own(self._renew, [self._group, self._consumer, *entries])

    async def count_delivery(self, entry: str) -> int:
        """Count another delivery of an entry to this worker; returns the deliveries so far, 0 if it is no longer ours.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        return await self._of_own(self._count_delivery, [self._group, self._consumer, entry])

    async def release(self, entries: Sequence[str], visibility_timeout_ms: int) -> int:
        """Release entries that were read but not started: claimable at once, without counting this delivery."""
        if not entries:
            return 0
        return await self._of_own(self._release, [self._group, self._consumer, visibility_timeout_ms + 1, *entries])

    async def _of_own(self, script: Script, args: Sequence[str | int]) -> int:
        """Run a script on entries of this consumer; without a group (Redis was flushed) it has none."""
        try:
            return int(await script([self.key], args))
        except ResponseError:  # the group is missing
            return 0

    async def complete(self, finished: Sequence[Completed]) -> list[bool]:
        """Record the outcomes of a batch, in one script call.

        Returns:
            For each, whether this call finished it (False: it had been finished before).

        Raises:
            StoreUnavailable: Redis cannot be reached; calling again is safe.
        """
        accounts = (self._keys.backlog_bytes, self._keys.deadlines, self._keys.limits(""))
        keys = [self.key, self._keys.results, *accounts]
        args: list[str | bytes | int] = [
            self._group,
            self._keys.notify(""),
            HINT_MAX_BYTES,
            self.model,
            self.version,
            len(OUTCOME_FIELDS),
            *OUTCOME_FIELDS,
        ]
        for delivery, request, outcome in finished:
            keys.append(self._keys.prediction(request.id))
            args += (delivery.entry, request.id, request.attempt, *encode_outcome(outcome))
        return [bool(done) for done in await self._complete(keys, args)]

    async def dead_letter(self, delivery: Delivery, reason: str, error: str) -> bool:
        """Dead-letter an entry; if its prediction id can be read, that prediction ends as `failed` with this error.

        Raises:
            StoreUnavailable: Redis cannot be reached; calling again is safe.
        """
        prediction_id = readable_id(delivery.fields)
        args: list[Any] = [
            self._group,
            delivery.entry,
            reason,
            readable(error),
            delivery.deliveries,
            prediction_id,
            self.model,
            self.version,
            self._keys.notify(""),
        ]
        state = self._keys.prediction(prediction_id)
        accounts = [self._keys.backlog_bytes, self._keys.deadlines, self._keys.limits("")]
        keys = [self.key, self._keys.dead, self._keys.results, state, *accounts]
        return bool(await self._dead_letter(keys, args))

    async def leave(self) -> bool:
        """Remove this consumer if nothing is pending for it."""
        try:
            return bool(await self._remove([self.key], [self._group, self._consumer]))
        except ResponseError:  # the stream is missing
            return False


def claimed_delivery(claimed: Sequence[Any]) -> Delivery:
    """A delivery, from what the claim script returns for one entry."""
    entry, flat, deliveries = claimed
    return Delivery(entry.decode(), dict(zip(flat[::2], flat[1::2], strict=True)), deliveries)


def readable_id(fields: Mapping[bytes, bytes]) -> str:
    """The prediction id of an entry that may be malformed; empty if it cannot be read."""
    text = fields.get(b"id", b"").decode(errors="replace")
    return text if is_id(text) else ""
