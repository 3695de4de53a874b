"""What must be in Redis and Postgres by what has happened so far: the model that the state machine compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.contract.messages import PredictionResult, Status
from shared.contract.queues import Priority, Queue
from shared.streams.prediction_state import PredictionStates, Queued
from shared.streams.request_stream import Delivery
from tests.access import shard_of
from tests.streams import MODEL, VERSION, Redis

CALLERS = ("", principal_id("test", "ann"), principal_id("test", "bob"))  # the first has no limits
Attempt = tuple[str, int]  # a prediction's id, and which attempt at it


def attempt_of(fields: Mapping[bytes, bytes]) -> Attempt:
    """Which attempt at which prediction an entry is about."""
    return fields[b"id"].decode(), int(fields[b"attempt"])


def name_of(entry: str, priority: Priority) -> str:
    """What a worker calls an entry of the stream of a priority."""
    return f"{entry}/batch" if priority is Priority.BATCH else entry


def bytes_of(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> int:
    """What entries of a request stream count in MAX_BACKLOG_BYTES."""
    names = (b"input", b"options", b"stored_input")
    return sum(len(fields.get(name, b"")) for _, fields in entries for name in names)


@dataclass
class Claim:
    """What Redis must know of a pending entry; `abandoned` once its consumer was silent for long enough."""

    consumer: str
    deliveries: int
    abandoned: bool = False


class Pending(dict[str, Claim]):
    """The pending list of one group."""

    def read(self, consumer: str, deliveries: Sequence[Delivery]) -> None:
        """Entries are handed out for the first time in the life of the group."""
        for each in deliveries:
            assert each.entry not in self, "a read handed out what is pending"
            self[each.entry] = Claim(consumer, 1)

    def claim(self, consumer: str, deliveries: Sequence[Delivery], alone: bool) -> None:
        """Entries are taken over: only abandoned ones, and what was begun before by itself where asked to."""
        abandoned = {entry for entry, claim in self.items() if claim.abandoned}
        assert {each.entry for each in deliveries} <= abandoned
        assert deliveries or not abandoned, f"nobody takes over {abandoned}"
        begun = [each.entry for each in deliveries if self[each.entry].deliveries > 0]
        assert not (alone and begun and len(deliveries) > 1), f"suspects {begun} came in company"
        for each in deliveries:
            self[each.entry] = Claim(consumer, self[each.entry].deliveries + 1)
            assert each.deliveries == self[each.entry].deliveries

    def renew(self, consumer: str, entries: Sequence[str]) -> int:
        """Claims start anew, its own only; the answer counts them."""
        own = [entry for entry in entries if entry in self and self[entry].consumer == consumer]
        for entry in own:
            self[entry].abandoned = False
        return len(own)

    def release(self, consumer: str, entries: Sequence[str]) -> int:
        """Its own are given back as if they had not been handed out this time; the answer counts them."""
        own = [entry for entry in entries if entry in self and self[entry].consumer == consumer]
        for entry in own:
            self[entry] = Claim(consumer, max(0, self[entry].deliveries - 1), True)
        return len(own)


class Row(NamedTuple):
    """A stored prediction; `result` tells outcomes apart."""

    attempt: int
    status: Status
    result: bytes | None


class Postgres(dict[str, Row]):
    """What persister/database.py does: insert, and let a later attempt replace what failed."""

    def insert(self, result: PredictionResult) -> None:
        """Store one result."""
        stored = self.get(result.id)
        if stored is None or (stored.status is Status.FAILED and result.attempt > stored.attempt):
            self[result.id] = Row(result.attempt, result.outcome.status, result.outcome.result)

    def reject(self, result: PredictionResult) -> None:
        """Refuse a result's data: it is stored as failed."""
        self.insert(result._replace(outcome=result.outcome._replace(status=Status.FAILED, result=None)))


@dataclass
class Truth:
    """What has happened.

    Attributes:
        accepted: the latest attempt of each accepted prediction.
        unfinished: attempts whose request waits or runs.
        outcomes: the entry that recorded the outcome of each attempt.
        unstored: attempts whose result is not forgotten yet, by entry.
    """

    redis: Redis
    keys: Keys
    accepted: dict[str, int] = field(default_factory=dict)
    unfinished: set[Attempt] = field(default_factory=set)
    outcomes: dict[Attempt, str] = field(default_factory=dict)
    unstored: dict[str, Attempt] = field(default_factory=dict)
    requests: Pending = field(default_factory=Pending)
    results: Pending = field(default_factory=Pending)
    postgres: Postgres = field(default_factory=Postgres)

    def __post_init__(self) -> None:
        self.states = PredictionStates(shard_of("gateway", self.redis, self.keys), "gateway")
        self.groups = {
            **{self.keys.requests(MODEL, VERSION, each): (Keys.WORKER_GROUP, self.requests) for each in Priority},
            self.keys.results: (Keys.PERSISTER_GROUP, self.results),
        }

    def finished(self, entry: str, attempt: Attempt) -> bool:
        """An entry has left its stream: is it only now?"""
        now = attempt in self.unfinished
        self.unfinished.discard(attempt)
        self.requests.pop(entry, None)
        return now

    def forgotten(self, entry: str) -> None:
        """A result has left its stream."""
        self.unstored.pop(entry, None)
        self.results.pop(entry, None)

    async def check(self) -> None:
        """Compare everything in Redis with what must be there."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for stream, (group, _) in self.groups.items():
                pipe.xrange(stream)
                pipe.xpending_range(stream, group, "-", "+", 1000)
            pipe.keys(self.keys.prediction("*"))
            pipe.hgetall(self.keys.backlog_bytes)
            pipe.zrange(self.keys.deadlines, 0, -1, withscores=True)
            answers = await pipe.execute(raise_on_error=False)
        results, persisting, states, counted, deadlines = answers[2 * len(Priority) :]
        of_each = dict(zip(Priority, zip(answers[::2], answers[1::2], strict=False), strict=False))
        requests = [each for entries, _ in of_each.values() for each in entries]
        self._check_entries(requests, results)
        labels = {each: Queue(MODEL, VERSION, each).label for each in Priority}
        waiting = {labels[each]: bytes_of(entries) for each, (entries, _) in of_each.items() if entries}
        assert {label.decode(): int(count) for label, count in counted.items()} == waiting, "bytes are miscounted"
        due = {
            f"{labels[each]} {entry.decode()}": int(fields[b"deadline_at"])
            for each, (entries, _) in of_each.items()
            for entry, fields in entries
        }
        assert {member.decode(): int(score) for member, score in deadlines} == due, "a deadline is wrong"
        await self._check_callers(requests)
        for each, (entries, taken) in of_each.items():
            own = {name: claim for name, claim in self.requests.items() if name_of(_bare(name), each) == name}
            _check_pending(own, entries, taken)
        _check_pending(self.results, results, persisting)
        in_flight = {prediction_id for prediction_id, _ in (*self.unfinished, *self.unstored.values())}
        kept = {key.decode().rsplit(":", 1)[1] for key in states}
        assert kept <= in_flight, "a state outlives its prediction"
        await self._check_every_prediction_is_found()

    async def charged(self, principal: str) -> tuple[int, int]:
        """The requests and bytes that a caller is charged for, as they are kept."""
        queued, size = await self.redis.hmget(self.keys.limits(principal), "queued", "bytes")
        return int(queued or 0), int(size or 0)

    async def _check_callers(self, requests: Any) -> None:
        """Each caller is charged for exactly what waits of it."""
        for principal in CALLERS:
            own = [each for each in requests if principal and each[1][b"principal"] == principal.encode()]
            assert await self.charged(principal) == (len(own), bytes_of(own)), "a caller is charged wrongly"

    def _check_entries(self, requests: Any, results: Any) -> None:
        """Each unfinished attempt waits once; each outcome was recorded once and waits until it is stored."""
        assert sorted(attempt_of(fields) for _, fields in requests) == sorted(self.unfinished)
        found = {entry.decode(): attempt_of(fields) for entry, fields in results}
        for entry, attempt in found.items():
            assert self.outcomes.setdefault(attempt, entry) == entry, f"{attempt} has two outcomes"
            assert attempt not in self.unfinished
            self.unstored.setdefault(entry, attempt)
        assert found == self.unstored

    async def _check_every_prediction_is_found(self) -> None:
        """In Redis or in Postgres, as its latest attempt has it."""
        ids = sorted(self.accepted)
        for prediction_id, state in (await self.states.look_all(ids)).items():
            latest = prediction_id, self.accepted[prediction_id]
            if state is None:
                assert prediction_id in self.postgres, "an accepted prediction is nowhere"
                assert latest not in self.unfinished, "a prediction that is tried again looks finished"
            elif isinstance(state, Queued):
                assert latest in self.unfinished and state.attempt == latest[1]
            else:
                assert latest in self.outcomes and state.attempt == latest[1], "an older attempt is shown"


def _bare(name: str) -> str:
    return name.removesuffix("/batch")


def _check_pending(model: Mapping[str, Claim], entries: Any, pending: Any) -> None:
    """Every pending entry is in its stream, with the owner and the delivery count that its history gives it."""
    listed = [] if isinstance(pending, ResponseError) else pending  # no group
    found = {each["message_id"].decode(): (each["consumer"].decode(), each["times_delivered"]) for each in listed}
    assert found == {_bare(entry): (each.consumer, each.deliveries) for entry, each in model.items()}
    assert found.keys() <= {entry.decode() for entry, _ in entries}
