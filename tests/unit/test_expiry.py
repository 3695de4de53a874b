"""Whatever is late and held by nobody ends in one turn, whatever stands between; and it is counted once."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import Mock, call

import pytest
from prometheus_client import REGISTRY

from gateway.upkeep import expiry as expiry_module
from gateway.upkeep.expiry import Expiry, age_out
from shared.contract.ids import uuid7
from shared.contract.messages import Outcome, Status
from shared.contract.queues import Priority, Queue
from shared.streams.dead_letters import DeadLetters
from shared.streams.request_stream import Completed, Delivery, Read
from shared.streams.shard import Shard

NOW_MS, VISIBILITY_MS = 1_733_000_000_000, 60_000
SHARD = Mock(Shard)
Entry = tuple[str, str, str]  # model, version, entry


class Late:
    """The late requests of a Redis, in the order of their deadlines.

    Attributes:
        entries: those that are left.
        held, gone, taken, malformed: by a live worker; deleted by hand; finished by a worker meanwhile; unreadable.
        finished: what was completed.
        letters: what was dead-lettered, with the reason.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)
        self.held, self.gone, self.taken, self.malformed = set[str](), set[str](), set[str](), set[str]()
        self.submitted_at = NOW_MS - 700
        self.finished: list[Completed] = []
        self.letters: list[tuple[str, str, str]] = []

    async def passed(self, skip: int, count: int) -> Mapping[Queue, Sequence[str]]:
        assert skip >= 0
        await asyncio.sleep(0)
        found = defaultdict(list)
        for model, version, entry in self.entries[skip : skip + count]:
            found[Queue(model, version)].append(entry)
        return found

    async def forget(self, queue: Queue, entries: Sequence[str]) -> None:
        assert set(entries) <= self.gone
        self.entries = [
            each for each in self.entries if each not in {(queue.model, queue.version, entry) for entry in entries}
        ]


class Stream:
    """The stream of one version as `Expiry` uses it."""

    def __init__(self, late: Late, queue: Queue) -> None:
        self.model, self.version, self.queue = queue.model, queue.version, queue
        self.name = f"requests/{self.model}/{self.version}"
        self._late = late

    async def unheld(self, entries: Sequence[str], visibility_timeout_ms: int) -> tuple[Read, list[str]]:
        assert visibility_timeout_ms == VISIBILITY_MS
        gone = [each for each in entries if each in self._late.gone]
        left = [each for each in entries if each not in self._late.gone | self._late.held]
        return Read([Delivery(each, self._fields(each), 0) for each in left], NOW_MS), gone

    def _fields(self, entry: str) -> dict[bytes, bytes]:
        return {
            b"schema": b"9" if entry in self._late.malformed else b"1",
            b"id": uuid7(NOW_MS, 1).encode(),
            b"model": self.model.encode(),
            b"version": self.version.encode(),
            b"input": b'{"text":"hello"}',
            b"submitted_at": str(self._late.submitted_at).encode(),
            b"deadline_at": b"1",
        }

    async def complete(self, finished: Sequence[Completed]) -> list[bool]:
        assert finished
        done = [each.delivery.entry not in self._late.taken for each in finished]
        self._late.finished += [each for each, first in zip(finished, done, strict=True) if first]
        self._leave({each.delivery.entry for each in finished})
        return done

    async def dead_letter(self, delivery: Delivery, reason: str, error: str) -> bool:
        self._late.letters.append((delivery.entry, reason, error))
        self._leave({delivery.entry})
        return delivery.entry not in self._late.taken

    def _leave(self, entries: set[str]) -> None:
        self._late.entries = [each for each in self._late.entries if each[2] not in entries]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    """Late requests: 1000 of two versions, one by one."""
    made = Late([("expiring", str(number % 2 + 1), f"{number}-0") for number in range(1000)])

    def stream(shard: Shard, model: str, version: str, consumer: str, priority: Priority) -> Stream:
        assert shard is SHARD
        return Stream(made, Queue(model, version, priority))

    monkeypatch.setattr(expiry_module, "Deadlines", {SHARD: made}.__getitem__)
    monkeypatch.setattr(expiry_module, "RequestStream", stream)
    return made


async def expire() -> int:
    """One turn; it has an end."""
    return await asyncio.wait_for(Expiry(SHARD, VISIBILITY_MS).expire(), 20)


def entries(numbers: range) -> set[str]:
    return {f"{number}-0" for number in numbers}


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"millstream_{name}_total", labels) or 0


def expired_of(version: str) -> float:
    return counted("predictions", model="expiring", version=version, status="expired")


async def test_all_that_is_late_expires_and_is_counted(late: Late, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = [expired_of("1"), expired_of("2")]
    assert await expire() == 1000
    assert [expired_of("1"), expired_of("2")] == [before[0] + 500, before[1] + 500]
    error = "the deadline passed after 700 ms in the queue; no live worker had it"
    assert {each.outcome for each in late.finished} == {Outcome(Status.EXPIRED, queue_time_ms=700, error=error)}
    assert {(each.request.model, each.request.input) for each in late.finished} == {("expiring", "hello")}
    assert {(record.message, record.name) for record in caplog.records} == {("expired", expiry_module.__name__)}
    assert await expire() == 0


@pytest.mark.parametrize(("begin", "end"), [(0, 150), (0, 350), (50, 450), (700, 1000), (0, 1000)])
@pytest.mark.parametrize("how", ["held", "gone", "taken", "malformed"])
async def test_what_does_not_expire_hides_nothing_behind_it(late: Late, how: str, begin: int, end: int) -> None:
    setattr(late, how, entries(range(begin, end)))
    assert await expire() == 1000 - (end - begin)
    assert {each[2] for each in late.entries} == (late.held if how == "held" else set())


async def test_all_kinds_together_hide_nothing_either(late: Late) -> None:
    late.held, late.gone = entries(range(0, 1000, 3)), entries(range(1, 1000, 6))
    late.taken, late.malformed = entries(range(2, 1000, 6)), entries(range(4, 1000, 12))
    others = len(late.held | late.gone | late.taken | late.malformed)
    assert await expire() == 1000 - others
    assert {each[2] for each in late.entries} == late.held


async def test_a_turn_is_bounded_and_the_next_goes_on(late: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry_module, "_MOST_A_TURN", 600)
    assert [await expire(), await expire(), await expire()] == [600, 400, 0]


async def test_what_cannot_be_read_is_a_dead_letter_and_counted_by_who_was_first(late: Late) -> None:
    late.malformed, late.taken = entries(range(3)), entries(range(1))
    labels = {"stream": "requests/expiring/1", "reason": "unknown_schema"}
    before = counted("dead_letters", **labels), counted("dead_letters", **{**labels, "stream": "requests/expiring/2"})
    assert await expire() == 997
    assert counted("dead_letters", **labels) == before[0] + 1
    assert counted("dead_letters", **{**labels, "stream": "requests/expiring/2"}) == before[1] + 1
    assert sorted(late.letters)[0] == ("0-0", "unknown_schema", "schema 9 is unknown: this version reads 1 to 1")


async def test_a_request_from_a_clock_that_is_ahead_has_not_waited(late: Late) -> None:
    late.submitted_at = NOW_MS + 5
    await expire()
    assert {each.outcome.queue_time_ms for each in late.finished} == {0}


@pytest.mark.parametrize("aged", [0, 3])
async def test_old_dead_letters_are_counted_and_told(aged: int, caplog: pytest.LogCaptureFixture) -> None:
    letters: Any = Mock(DeadLetters, **{"age_out.return_value": aged})
    labels = {"stream": "dead", "reason": "aged_out"}
    before = counted("dead_letters", **labels)
    assert await age_out(letters, 1000) == aged
    assert letters.mock_calls == [call.age_out(1000)]
    assert counted("dead_letters", **labels) == before + aged
    assert [record.message for record in caplog.records] == ["dead letters aged out"] * bool(aged)
