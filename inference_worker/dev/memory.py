"""What waits, is computed and has finished, in the memory of one process: in the place of Redis and Postgres."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from shared.contract.hints import Hint
from shared.contract.messages import SCHEMA, Outcome, PredictionResult
from shared.contract.queues import Priority, Queue
from shared.streams.prediction_state import Queued
from shared.streams.publishing import Group, NewRequest, Published, Verdict
from shared.streams.queue_depth import Depth
from shared.streams.request_stream import Delivery, Read
from shared.streams.version_streams import Counts

MOST_WAITING = 10_000
MOST_FINISHED = 1_000  # the oldest are forgotten


class Memory:
    """The requests of one version.

    Attributes:
        states: of those that are not forgotten, by id.
        hints: of those that have finished.
    """

    def __init__(self) -> None:
        self.states: dict[str, Queued | PredictionResult] = {}
        self.hints: asyncio.Queue[Hint] = asyncio.Queue()
        self._waiting: dict[Priority, deque[Delivery]] = {each: deque() for each in Priority}
        self._arrived = asyncio.Event()
        self._held: dict[str, Delivery] = {}
        self._finished: deque[str] = deque()
        self._by_key: dict[str, Group] = {}

    def accept(self, queue: Queue, group: Group) -> Published:
        """Let the requests of a group wait."""
        if earlier := self._by_key.get(group.idempotency_key):
            if earlier.fingerprint != group.fingerprint:
                return Published(Verdict.CONFLICT)
            return Published(Verdict.ACCEPTED, [each.id for each in earlier.requests])
        if sum(map(len, self._waiting.values())) + len(group.requests) > MOST_WAITING:
            return Published(Verdict.BACKLOG)
        if group.idempotency_key:
            self._by_key[group.idempotency_key] = group
        for new in group.requests:
            self.states[new.id] = Queued(0, queue.version_label)
            self._waiting[queue.priority].append(Delivery(new.id, _fields(queue, new)))
        self._arrived.set()
        return Published(Verdict.ACCEPTED)

    async def take(self, counts: Counts, block_ms: int) -> Read:
        """Take what waits in hand, up to a count of each priority; waits at most `block_ms` for the first."""
        taken = self._take_now(counts)
        if not taken and block_ms > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), block_ms / 1000)
            except TimeoutError:
                return Read([], _now_ms())
            taken = self._take_now(counts)
        return Read(taken, _now_ms())

    def give_back(self, entries: Sequence[str]) -> int:
        """Let what was taken wait again, before all others; returns how many that were."""
        held = [self._held.pop(each) for each in reversed(entries) if each in self._held]
        for each in held:
            self._waiting[_priority(each)].appendleft(each)
        self._arrived.set()
        return len(held)

    def depth(self, priority: Priority) -> Depth:
        """How many of a priority wait or are computed, and since when the oldest of them."""
        held = [each for each in self._held.values() if _priority(each) is priority]
        since = [int(each.fields[b"submitted_at"]) for each in (*held, *self._waiting[priority])]
        oldest_s = (_now_ms() - min(since)) / 1000 if since else 0.0
        return Depth(len(since), len(held), oldest_s)

    def count_delivery(self, entry: str) -> int:
        """Count another delivery of what is in hand; returns the deliveries so far, 0 if it is not in hand."""
        if entry not in self._held:
            return 0
        held = self._held[entry] = self._held[entry]._replace(deliveries=self._held[entry].deliveries + 1)
        return held.deliveries

    def end(self, entry: str, outcome: Outcome) -> bool:
        """Keep an outcome, and tell who waits for it; returns whether it is the first of its request."""
        held = self._held.pop(entry, None)
        if held is None:
            return False
        result = _result(held, outcome)
        self.states[result.id] = result
        self._finished.append(result.id)
        if len(self._finished) > MOST_FINISHED:
            self._forget(self._finished.popleft())
        self.hints.put_nowait(Hint(result.id, 0, result.model, result.version, outcome))
        return True

    def _take_now(self, counts: Counts) -> list[Delivery]:
        taken = [
            waiting.popleft()
            for waiting, count in zip(self._waiting.values(), counts, strict=True)
            for _ in range(min(count, len(waiting)))
        ]
        self._held |= {each.entry: each for each in taken}
        return taken

    def _forget(self, prediction_id: str) -> None:
        del self.states[prediction_id]
        keys = [key for key, group in self._by_key.items() if group.requests[-1].id == prediction_id]
        for each in keys:
            del self._by_key[each]


def _fields(queue: Queue, new: NewRequest) -> dict[bytes, bytes]:
    """An entry as in the request stream."""
    now_ms = _now_ms()
    told = {
        b"schema": SCHEMA,
        b"id": new.id,
        b"model": queue.model,
        b"version": queue.version,
        b"attempt": 0,
        b"submitted_at": now_ms,
        b"deadline_at": now_ms + new.timeout_ms,
        b"priority": queue.priority.value,
    }
    texts = {b"input": new.input, b"options": new.options, b"stored_input": new.stored_input, b"tags": new.tags}
    return {name: str(each).encode() for name, each in told.items()} | texts


def _result(held: Delivery, outcome: Outcome) -> PredictionResult:
    fields = held.fields
    kept = fields[b"stored_input"]
    return PredictionResult(
        held.entry,
        fields[b"model"].decode(),
        fields[b"version"].decode(),
        outcome,
        input=kept or fields[b"input"],
        options=b"{}" if kept else fields[b"options"],
        completed_at=_now_ms(),
        priority=_priority(held),
        tags=fields[b"tags"],
    )


def _priority(delivery: Delivery) -> Priority:
    return Priority(delivery.fields[b"priority"].decode())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
