"""Gateways, workers and persisters as the state machine moves them: each method is one command and what it must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from shared.contract.ids import read_batch
from shared.contract.limits import CallerLimits, Rate
from shared.contract.messages import Outcome, PredictionRequest, Status, decode_request, decode_result
from shared.contract.queues import Priority
from shared.streams.dead_letters import GONE, DeadLetters
from shared.streams.deadlines import Deadlines
from shared.streams.publishing import Group, Limits, NewRequest, Published, Publisher, Verdict
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.result_stream import Persisted, ResultStream
from shared.streams.version_streams import Counts, VersionStreams
from tests.access import shard_of
from tests.integration.stream_truth import CALLERS, Truth, attempt_of, bytes_of, name_of
from tests.streams import ACCEPTED, MODEL, VERSION, new_batch, new_request

KEPT = b'{"digest":"0"}'
CALLER_LIMITS = CallerLimits(compute_ms=Rate(1e6, 3600), queued=6)
VISIBILITY_TIMEOUT_MS = 3_600_000  # passes only where the machine says so
LIMITS = Limits(
    max_backlog=12, max_backlog_bytes=300, max_results=10, max_memory_percent=100, max_idempotency_bytes=1_000_000
)


class Move(NamedTuple):
    """The choices of one step: which of those that there are, two that each action reads in
    its own way, and whether who takes something dies of it."""

    picks: list[int]
    this: bool
    that: bool
    dies: bool = False


class Gateways:
    """What gateways and operators send."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._publisher = Publisher(shard_of("gateway", truth.redis, truth.keys), "gateway", LIMITS)
        self._letters = DeadLetters(shard_of("gateway", truth.redis, truth.keys))
        shard = shard_of("inference_worker", truth.redis, truth.keys)
        self._sweepers = [RequestStream(shard, MODEL, VERSION, "sweeper", each) for each in Priority]
        self._both = VersionStreams(shard, MODEL, VERSION, "sweeper")
        self._deadlines = Deadlines(shard_of("gateway", truth.redis, truth.keys))
        self._known: dict[str, tuple[str, list[str]]] = {}
        self._late: list[Delivery] = []

    async def publish(self, move: Move) -> None:
        """A group, perhaps past its deadline at once; the client library may send the command a second time."""
        caller = CALLERS[move.picks[0] % len(CALLERS)]
        timeout_ms = -1 if move.this else 3_600_000
        requests = [
            new_request("x" * 10 * pick, timeout_ms=timeout_ms)._replace(
                principal=caller, cost_us=1000 * pick, stored_input=KEPT if pick % 2 else b""
            )
            for pick in move.picks
        ]
        priority = Priority.BATCH if sum(move.picks) % 2 else Priority.INTERACTIVE
        if await self._publish(requests, priority) == ACCEPTED and move.that:
            limits = CALLER_LIMITS if caller else None
            repeated = await self._publisher.publish(MODEL, VERSION, [Group(requests, limits=limits)], priority)
            assert repeated[0].verdict in (Verdict.ACCEPTED, Verdict.BACKLOG, Verdict.BACKLOG_BYTES)

    async def publish_with_a_key(self, move: Move) -> None:
        """A group with an idempotency key, which may have been used before, for this body or another."""
        fingerprint = f"{move.that}{len(move.picks)}"
        batch = new_batch(len(move.picks))
        requests = [new_request()._replace(id=each) for each in read_batch(batch).ids()]
        await self._publish(requests, Priority.INTERACTIVE, f"key {move.this}", fingerprint, batch)

    async def look_for_late_requests(self, _: Move) -> None:
        """The first half of an expiry; anything may happen before the second."""
        passed, self._late = await self._deadlines.passed(0, 100), []
        for sweeper in self._sweepers:
            unheld, gone = await sweeper.unheld(passed.get(sweeper.queue, ()), VISIBILITY_TIMEOUT_MS)
            assert not gone
            priority = sweeper.queue.priority
            self._late += [each._replace(entry=name_of(each.entry, priority)) for each in unheld.deliveries]
        assert {attempt_of(each.fields) for each in self._late} <= self._truth.unfinished
        held = {entry for entry, claim in self._truth.requests.items() if not claim.abandoned}
        assert not {each.entry for each in self._late} & held

    async def expire_late_requests(self, _: Move) -> None:
        """The second half: some may be in a worker's hands by now, or finished."""
        late = [(each, decode_request(each.fields)) for each in self._late]
        await finish(self._truth, self._both, late, Status.EXPIRED)

    async def replay_a_dead_letter(self, move: Move) -> None:
        """It goes back as the next attempt at the same prediction; the second of two operators comes too late."""
        letters = await self._letters.page(None, 6)
        for letter in letters[move.picks[0] :][:1]:
            if letter.request is None:  # the result of one that was given up, and that Postgres refused on top
                assert letter.source == "results"
                continue
            attempt = await self._letters.replay(letter, 3_600_000, 1000)
            assert attempt > letter.request.attempt
            assert await self._letters.replay(letter, 3_600_000, 1000) == GONE
            self._truth.accepted[letter.request.id] = attempt
            self._truth.unfinished.add((letter.request.id, attempt))

    async def _publish(
        self, requests: Sequence[NewRequest], priority: Priority, key: str = "", fingerprint: str = "", batch: str = ""
    ) -> Published:
        truth, ids = self._truth, [each.id for each in requests]
        expected = await self._verdict(requests, priority, key, fingerprint)
        limits = CALLER_LIMITS if requests[0].principal else None
        group = Group(requests, key, fingerprint, batch, limits)
        (published,) = await self._publisher.publish(MODEL, VERSION, [group], priority)
        published = published._replace(used=None)
        assert published == expected
        if published == ACCEPTED:
            truth.accepted |= dict.fromkeys(ids, 0)
            truth.unfinished |= {(each, 0) for each in ids}
            if key:
                self._known[key] = fingerprint, ids
        else:
            assert await truth.states.look_all(ids) == dict.fromkeys(ids), "what is refused leaves nothing behind"
        return published

    async def _verdict(
        self, requests: Sequence[NewRequest], priority: Priority, key: str, fingerprint: str
    ) -> Published:
        if key in self._known:
            known, ids = self._known[key]
            return Published(Verdict.ACCEPTED, ids) if known == fingerprint else Published(Verdict.CONFLICT)
        truth = self._truth
        if len(truth.unstored) >= LIMITS.max_results:
            return Published(Verdict.RESULTS)
        entries = await truth.redis.xrange(truth.keys.requests(MODEL, VERSION, priority))
        if len(entries) + len(requests) > LIMITS.max_backlog:
            return Published(Verdict.BACKLOG)
        waiting = bytes_of(entries)
        more = sum(each.bytes for each in requests)
        if waiting + more > LIMITS.max_backlog_bytes:
            return Published(Verdict.BACKLOG_BYTES)
        if not requests[0].principal:
            return ACCEPTED
        queued, _ = await truth.charged(requests[0].principal)
        most = CALLER_LIMITS.queued or 0
        return Published(Verdict.CALLER_QUEUED) if queued + len(requests) > most else ACCEPTED


@dataclass
class Worker:
    """A worker and what it believes to hold. Where it is dead or stopped, what it sent may still arrive."""

    truth: Truth
    name: str
    alive: bool = True
    held: dict[str, Delivery] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shard = shard_of("inference_worker", self.truth.redis, self.truth.keys)
        self.stream = VersionStreams(shard, MODEL, VERSION, self.name)

    async def read(self, move: Move) -> None:
        """What nobody has read; where it dies of it, it does not even know what it was given."""
        taken = (await self.stream.read(Counts(len(move.picks), len(move.picks)), 0)).deliveries
        self.truth.requests.read(self.name, taken)
        self._take(taken, move.dies)

    async def claim(self, move: Move) -> None:
        """What another has abandoned."""
        taken = (await self.stream.claim(VISIBILITY_TIMEOUT_MS, len(move.picks))).deliveries
        self.truth.requests.claim(self.name, taken, alone=True)
        self._take(taken, move.dies)

    async def renew(self, move: Move) -> None:
        """Of what it believes to hold, what is still its own."""
        entries = [delivery.entry for delivery, _ in self._some(move)]
        assert await self.stream.renew(entries) == self.truth.requests.renew(self.name, entries)

    async def give_back(self, move: Move) -> None:
        """What it has not begun; it may do so twice, or after others have taken it over."""
        entries = [delivery.entry for delivery, _ in self._some(move)]
        released = await self.stream.release(entries, VISIBILITY_TIMEOUT_MS)
        assert released == self.truth.requests.release(self.name, entries)

    async def complete(self, move: Move) -> None:
        """A batch; where the answer is lost it may do so again."""
        some = self._some(move)
        await finish(self.truth, self.stream, some, Status.FAILED if move.this else Status.SUCCEEDED)
        self._drop(some, unless=move.that)

    async def give_up(self, move: Move) -> None:
        """One goes to the dead letters, unless it was finished before."""
        some = self._some(move)[:1]
        for delivery, request in some:
            given_up = await self.stream.dead_letter(delivery, "max_deliveries", "it kills its workers")
            assert given_up == self.truth.finished(delivery.entry, (request.id, request.attempt))
        self._drop(some, unless=move.that)

    async def leave(self, _: Move) -> None:
        """Its consumer goes only where nothing would go with it."""
        owns = any(claim.consumer == self.name for claim in self.truth.requests.values())
        assert not (await self.stream.leave() and owns)

    async def die(self, _: Move) -> None:
        """Between two commands, or be stopped there."""
        self.alive = False

    def _take(self, taken: Sequence[Delivery], dies: bool) -> None:
        assert {attempt_of(each.fields) for each in taken} <= self.truth.unfinished, "what is finished was handed out"
        if dies:
            self.alive = False
        else:
            self.held |= {each.entry: each for each in taken}

    def _some(self, move: Move) -> list[tuple[Delivery, PredictionRequest]]:
        entries = sorted(self.held)
        chosen = dict.fromkeys(entries[pick % len(entries)] for pick in move.picks) if entries else ()
        return [(self.held[entry], decode_request(self.held[entry].fields)) for entry in chosen]

    def _drop(self, some: Sequence[tuple[Delivery, PredictionRequest]], unless: bool) -> None:
        for delivery, _ in () if unless else some:
            del self.held[delivery.entry]


@dataclass
class Persister:
    """A persister between its steps: what it has read, and what it has written and not forgotten."""

    truth: Truth
    name: str
    held: list[Delivery] = field(default_factory=list)
    written: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = ResultStream(shard_of("persister", self.truth.redis, self.truth.keys), self.name)

    async def read(self, move: Move) -> None:
        """Results nobody has read; where it dies of it, it does not know them."""
        taken = await self.stream.read(len(move.picks), 0)
        self.truth.results.read(self.name, taken)
        self._take(taken, move.dies)

    async def claim(self, move: Move) -> None:
        """Results that another has abandoned."""
        taken = await self.stream.claim(VISIBILITY_TIMEOUT_MS, len(move.picks))
        self.truth.results.claim(self.name, taken, alone=False)
        self._take(taken, move.dies)

    async def commit(self, move: Move) -> None:
        """All it holds is in Postgres from here on, and still in Redis. Postgres may refuse the first row's data."""
        for delivery in self.held:
            if move.this and delivery is self.held[0]:
                await self.stream.dead_letter(delivery, "rejected_by_postgres", "no such number")
                self.truth.postgres.reject(decode_result(delivery.fields))
            else:
                self.truth.postgres.insert(decode_result(delivery.fields))
        self.written, self.held = [*self.written, *self.held], []

    async def forget(self, move: Move) -> None:
        """Entries and states go; where the answer is lost it does so again, whatever has happened since."""
        await self.stream.forget([Persisted(each.entry, *attempt_of(each.fields)) for each in self.written])
        for each in self.written:
            self.truth.forgotten(each.entry)
        if not move.that:
            self.written = []

    async def leave(self, _: Move) -> None:
        """Its consumer goes only where nothing would go with it: the pending list is compared after each step."""
        await self.stream.leave()

    def _take(self, taken: Sequence[Delivery], dies: bool) -> None:
        assert {each.entry for each in taken} <= self.truth.unstored.keys(), "what is stored was handed out"
        if not dies:
            self.held += taken


async def finish(
    truth: Truth, stream: VersionStreams, some: Sequence[tuple[Delivery, PredictionRequest]], status: Status
) -> None:
    """Complete a batch: exactly those end here that nobody has ended before."""
    if not some:
        return
    result = orjson.dumps({"serial": len(truth.outcomes)}) if status is Status.SUCCEEDED else None
    outcome = Outcome(status, result, error="" if result else "it went wrong")
    done = await stream.complete([Completed(*each, outcome) for each in some])
    assert done == [truth.finished(delivery.entry, (request.id, request.attempt)) for delivery, request in some]
