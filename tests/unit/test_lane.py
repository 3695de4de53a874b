"""What a lane reads, when it looks for what others left, and how it begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock, call

import orjson
import pytest
from prometheus_client import REGISTRY

from inference_worker import lane as lane_module
from inference_worker.engine import EngineDown
from inference_worker.lane import Lane
from inference_worker.settings import WorkerSettings
from inference_worker.tracing import LaneSpans
from shared.contract.catalogue import BatchLimits, ServedVersion, Version
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import uuid7
from shared.contract.messages import Outcome, Status
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Completed, Delivery, Read
from shared.streams.version_streams import Counts, VersionStreams
from tests.unit.test_passes import Clock, HandEngine
from tests.waiting import eventually

MODEL, VERSION, WORKER = "lanes", "1", "w1"
LABEL = f"{MODEL}:{VERSION}"
NOW_MS = 1_733_000_000_000
BLOCK_MS, VISIBILITY_MS, CLAIM_MS, MOST_DELIVERIES = 200, 60_000, 1000, 3
AWAY = StoreUnavailable("redis", "it is being tested", "read_only")


def delivery(text: str, deliveries: int = 1, **changes: bytes) -> Delivery:
    """An entry that holds a request, which was submitted 700 ms ago; `changes` are its fields."""
    fields = {
        b"schema": b"1",
        b"id": uuid7(NOW_MS, 1).encode(),
        b"model": MODEL.encode(),
        b"version": VERSION.encode(),
        b"input": orjson.dumps({"text": text}),
        b"submitted_at": str(NOW_MS - 700).encode(),
        b"deadline_at": str(NOW_MS + 60_000).encode(),
        **{name.encode(): value for name, value in changes.items()},
    }
    return Delivery(f"entry of {text}", fields, deliveries)


class HandStream:
    """A request stream that answers as it is scripted; when all is read, the stop is set.

    Attributes:
        reads: what each read brings, or fails with.
        abandoned: what is found each time that abandoned entries are looked for; nothing if it is at its end.
        asked: the count and the pause of each read.
        looked: when abandoned entries were looked for.
        calls: all the rest that it was asked for.
        finished: what was completed.
    """

    def __init__(self, clock: Clock, stop: asyncio.Event) -> None:
        self.reads: list[Sequence[Delivery] | StoreUnavailable] = []
        self.abandoned: list[Sequence[Delivery]] = []
        self.found: Sequence[Delivery] = []
        self.asked: list[tuple[int, int]] = []
        self.looked: list[float] = []
        self.now_ms = NOW_MS
        self.takes_s = 0.0
        self.finished: list[Completed] = []
        self.calls = Mock(VersionStreams)
        self.calls.read.side_effect = self._read
        self.calls.has_abandoned.side_effect = self._look
        self.calls.claim.side_effect = lambda *_: Read(self.found, NOW_MS)
        self.calls.complete.side_effect = self._complete
        self._clock, self._stop = clock, stop

    async def _read(self, counts: Counts, block_ms: int) -> Read:
        if not counts.interactive:
            return Read([], self.now_ms)
        self.asked.append((counts.interactive, block_ms))
        self._clock.now += self.takes_s
        await asyncio.sleep(0)
        if not self.reads:
            self._stop.set()
            return Read([], self.now_ms)
        found = self.reads.pop(0)
        if isinstance(found, StoreUnavailable):
            raise found
        self.now_ms += 1
        return Read(found, self.now_ms - 1)

    async def _look(self, visibility_timeout_ms: int) -> bool:
        assert visibility_timeout_ms == VISIBILITY_MS
        self.looked.append(self._clock.now)
        self.found = self.abandoned.pop(0) if self.abandoned else []
        return bool(self.found)

    async def _complete(self, finished: Sequence[Completed]) -> list[bool]:
        self.finished += finished
        return [True] * len(finished)


class Bench:
    """A lane with all that it needs; its batches have at most four requests, unless it is told otherwise."""

    def __init__(self, max_wait_ms: int = 0, max_batch_size: int = 4, spans: Mock | None = None) -> None:
        self.stop, self.clock = asyncio.Event(), Clock()
        self.clock.now = 0.0
        self.stream = HandStream(self.clock, self.stop)
        self.engine = HandEngine(self.clock, 1, ())
        self.closed = Mock()
        self.engine.close = self.closed  # type: ignore[method-assign]
        self.liveness, self.redis = Mock(Liveness), Mock(RedisWatch)
        self.liveness.moved.side_effect = self._moved
        settings = WorkerSettings(
            read_block_ms=BLOCK_MS,
            visibility_timeout_ms=VISIBILITY_MS,
            claim_interval_ms=CLAIM_MS,
            max_deliveries=MOST_DELIVERIES,
        )
        limits = BatchLimits(max_batch_size=max_batch_size, max_wait_ms=max_wait_ms)
        version = Version(version=VERSION, artifact="none", batch=limits)
        served = ServedVersion(model=MODEL, task="tests:Task", version=version)
        arguments = (settings, served, self.stream.calls, self.engine, self.liveness, WORKER, self.redis, spans)
        self.lane = Lane(*arguments)

    def _moved(self, _: str) -> None:
        assert len(self.liveness.moved.mock_calls) < 1000, "it spins"

    async def run(self) -> None:
        await asyncio.wait_for(self.lane.run(self.stop), 20)

    def start(self) -> None:
        """Let the lane run beside the test."""
        self.running = asyncio.create_task(self.run())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; a lane that ends meanwhile says why."""
        await eventually(lambda: self.running.done() or condition(), what)
        if not condition():
            await self.running
            raise AssertionError(f"the lane has ended, and not: {what}")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    def make_bench(**changes: Any) -> Bench:
        bench = Bench(**changes)
        monkeypatch.setattr(lane_module, "time", bench.clock)
        return bench

    return make_bench


Make = Callable[..., Bench]


async def test_what_is_read_is_computed_and_finished_and_then_the_lane_leaves(make: Make) -> None:
    bench = make(spans=(spans := Mock(LaneSpans)))
    spans.exemplars.side_effect = lambda requests: [None for _ in requests]
    bench.stream.reads = [[delivery("a"), delivery("b")]]
    assert bench.lane.cost is None
    await bench.run()
    assert bench.lane.cost is not None
    outcomes = {each.request.input: each.outcome for each in bench.stream.finished}
    assert {text: (each.status, each.worker) for text, each in outcomes.items()} == {
        text: (Status.SUCCEEDED, WORKER) for text in ("a", "b")
    }
    assert bench.lane.in_hand == 0 and bench.lane.unavailable is None
    bench.redis.require.assert_called_once_with()
    bench.stream.calls.join.assert_called_once_with()
    bench.stream.calls.leave.assert_called_once_with()
    bench.closed.assert_called_once_with()
    assert {each.args for each in bench.liveness.moved.mock_calls} == {(f"lane {LABEL}",)}
    bench.liveness.ended.assert_called_once_with(f"lane {LABEL}")
    assert spans.finished.mock_calls[-1].args[2] is spans.timing.return_value


async def test_a_lane_that_is_stopped_before_it_begins_reads_nothing(make: Make) -> None:
    bench = make()
    bench.stop.set()
    await bench.run()
    assert bench.stream.asked == []
    bench.stream.calls.join.assert_not_called()
    bench.stream.calls.leave.assert_called_once_with()


async def test_a_batch_is_read_at_a_time_and_several_of_a_deep_queue(make: Make) -> None:
    bench = make()
    bench.stream.reads = [[], [delivery("a")], [delivery(each) for each in "bcde"]]
    await bench.run()
    assert bench.stream.asked == [(4, BLOCK_MS), (4, BLOCK_MS), (4, BLOCK_MS), (16, BLOCK_MS)]
    bench.stream.calls.join.assert_called_once_with()


async def test_a_queue_is_not_taken_for_deep_before_it_is_read(make: Make) -> None:
    bench = make(max_batch_size=1)
    await bench.run()
    assert bench.stream.asked == [(1, BLOCK_MS)]


async def test_nothing_is_read_while_enough_waits(make: Make) -> None:
    bench = make()
    bench.engine.hold_back()
    bench.stream.reads = [[delivery("a")], [delivery(each) for each in "bcde"], [delivery(f"f{n}") for n in range(12)]]
    bench.start()
    await bench.until(lambda: not bench.stream.reads, "all is read")
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.stream.asked == [(4, BLOCK_MS), (4, BLOCK_MS), (12, BLOCK_MS)] and bench.lane.in_hand == 17
    bench.engine.let_go()
    await bench.until(lambda: len(bench.stream.asked) == 4, "there is room again")
    assert bench.stream.asked[3] == (4, BLOCK_MS)  # a pass of four has begun
    bench.engine.let_go(100)
    await bench.running
    bench.stream.calls.join.assert_called_once_with()


@pytest.mark.parametrize(
    ("reads", "asked", "slept"),
    [
        ([["a"], ["b", "c", "d"]], [(4, BLOCK_MS), (3, 0), (16, BLOCK_MS)], 1),
        ([["a"], []], [(4, BLOCK_MS), (3, 0), (4, BLOCK_MS)], 1),
        ([["a", "b", "c", "d"]], [(4, BLOCK_MS), (16, BLOCK_MS)], 0),
        ([[]], [(4, BLOCK_MS), (4, BLOCK_MS)], 0),
        ([[*"abcd"], [*"efghi"]], [(4, BLOCK_MS), (16, BLOCK_MS)], 0),
    ],
)
async def test_a_batch_that_is_not_full_waits_for_more(
    *,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    reads: list[list[str]],
    asked: list[tuple[int, int]],
    slept: int,
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    bench = make(max_wait_ms=500)
    bench.stream.reads = [[delivery(text) for text in read] for read in reads]
    await bench.run()
    assert bench.stream.asked[: len(asked)] == asked and pauses == [0.5] * slept
    assert len(bench.stream.finished) == sum(len(read) for read in reads)


async def test_a_batch_that_waited_is_judged_by_the_later_clock_and_held_whole(make: Make) -> None:
    bench = make(max_wait_ms=1)
    bench.engine.hold_back()
    bench.stream.reads = [[delivery("a")], [delivery("b")]]
    bench.start()
    await bench.until(lambda: bench.engine.begun, "they are computed")
    assert bench.lane.in_hand == 2
    bench.engine.let_go()
    await bench.running
    assert {each.outcome.queue_time_ms for each in bench.stream.finished} == {701}


async def test_a_second_read_that_fails_loses_nothing(make: Make) -> None:
    bench = make(max_wait_ms=1)
    bench.stream.reads = [[delivery("a")], AWAY]
    await bench.run()
    assert [each.request.input for each in bench.stream.finished] == ["a"]


async def test_without_a_pause_a_batch_that_is_not_full_is_computed_at_once(make: Make) -> None:
    bench = make()
    bench.stream.reads = [[delivery("a")]]
    await bench.run()
    assert bench.stream.asked == [(4, BLOCK_MS), (4, BLOCK_MS)]


async def test_what_will_not_be_computed_ends_at_once_through_an_outage_too(make: Make) -> None:
    bench = make()
    late, poison = delivery("late", deadline_at=str(NOW_MS - 1).encode()), delivery("poison", MOST_DELIVERIES + 1)
    bench.stream.reads = [[late, poison, delivery("often", MOST_DELIVERIES)]]
    calls, complete = bench.stream.calls, bench.stream.calls.complete.side_effect
    calls.dead_letter.side_effect = [AWAY, True]

    async def fails_once(finished: Sequence[Completed]) -> list[bool]:
        calls.complete.side_effect = complete
        raise AWAY

    calls.complete.side_effect = fails_once
    await bench.run()
    expired, computed = bench.stream.finished
    error = "the deadline passed after 700 ms in the queue"
    assert expired.delivery is late and expired.request.input == "late"
    assert expired.outcome == Outcome(Status.EXPIRED, queue_time_ms=700, error=error, worker=WORKER)
    assert computed.request.input == "often" and computed.outcome.queue_time_ms == 700
    assert calls.dead_letter.mock_calls[-1].args[:2] == (poison, "max_deliveries")
    assert bench.lane.in_hand == 0


@pytest.mark.parametrize(
    ("chance", "takes_s", "looked_s"),
    [
        (0, 0.75, [0, 0.75, 1.5]),
        (0, 0.7495, [0, 1.499]),
        (1, 1.25, [0, 1.25, 2.5]),
        (1, 1.2, [0, 2.4]),
    ],
)
async def test_abandoned_entries_are_looked_for_at_intervals_that_differ_by_a_quarter(
    *, make: Make, monkeypatch: pytest.MonkeyPatch, chance: int, takes_s: float, looked_s: list[float]
) -> None:
    monkeypatch.setattr(lane_module, "random", Mock(uniform=lambda *bounds: bounds[chance]))
    bench = make()
    bench.stream.takes_s = takes_s
    bench.stream.reads = [[], []]
    await bench.run()
    assert bench.stream.looked == pytest.approx(looked_s)


async def test_abandoned_entries_are_computed_with_nothing_else_in_hand(make: Make) -> None:
    bench = make()
    counted = ("millstream_redeliveries_total", {"stream": f"requests/{MODEL}/{VERSION}"})
    before = REGISTRY.get_sample_value(*counted) or 0
    bench.engine.hold_back()
    bench.stream.reads, bench.stream.takes_s = [[delivery("a")]], 2 * CLAIM_MS / 1000
    bench.stream.abandoned = [[], [delivery("b", 2), delivery("c", 2)]]
    bench.start()
    await bench.until(lambda: bench.engine.begun and len(bench.stream.looked) == 2, "it computes, and looks")
    for _ in range(20):
        await asyncio.sleep(0)
    bench.stream.calls.claim.assert_not_called()
    bench.engine.let_go()
    await bench.until(lambda: len(bench.engine.begun) == 2, "what was abandoned is computed")
    bench.stream.calls.claim.assert_called_once_with(VISIBILITY_MS, 4)
    assert bench.lane.in_hand == 2 and len(bench.stream.asked) == 1  # nothing is read beside them
    bench.engine.let_go()
    await bench.running
    assert bench.engine.begun == [["a"], ["b", "c"]]
    assert bench.stream.asked == [(4, BLOCK_MS), (4, 0)]  # others may be left: it does not wait for new ones
    assert REGISTRY.get_sample_value(*counted) == before + 2


async def test_a_stream_that_fails_is_told_and_joined_anew(make: Make) -> None:
    bench = make()
    bench.stream.reads = [[delivery("a")], AWAY, [delivery("b")]]
    seen: list[str | None] = []
    bench.redis.require.side_effect = lambda: seen.append(bench.lane.unavailable)
    await bench.run()
    assert seen == ["starting", str(AWAY)] and bench.lane.unavailable is None
    assert len(bench.stream.finished) == 2


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_engine_that_breaks_down_ends_its_lane_unless_that_ends_anyway(make: Make, stopped: bool) -> None:
    bench = make()
    bench.engine.predicts["a"] = [EngineDown("no child can be started")]
    bench.stream.reads = [[delivery("a")], *([] for _ in range(100))]
    if stopped:
        bench.engine.hold_back()
        bench.start()
        await bench.until(lambda: bench.engine.begun, "it computes")
        bench.stop.set()
        bench.engine.let_go()
        await bench.running
    else:
        with pytest.raises(EngineDown, match="no child"):
            await bench.run()
    assert call(["entry of a"], VISIBILITY_MS) in bench.stream.calls.release.mock_calls
    bench.stream.calls.leave.assert_called_once_with()


@pytest.mark.parametrize(("breaks", "finished"), [(False, ["a"]), (True, [])])
async def test_an_engine_that_breaks_down_while_encoding_ends_its_lane_once_all_else_has_ended(
    make: Make, breaks: bool, finished: list[str]
) -> None:
    bench = make()
    bench.engine.predicts["a"] = [EngineDown("no child can be started")] * breaks
    bench.engine.hold_back()
    bench.engine.encodes["b"] = [EngineDown("no child can be started")]
    bench.stream.reads = [[delivery("a")], [delivery("b")]]
    bench.start()
    await bench.until(lambda: bench.stream.calls.release.called, "it is given back")
    bench.engine.let_go()
    with pytest.raises(EngineDown, match="no child"):
        await bench.running
    assert [each.request.input for each in bench.stream.finished] == finished


async def test_a_lane_that_cannot_take_its_consumer_away_says_so_and_ends(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    bench.stream.calls.leave.side_effect = AWAY
    await bench.run()
    (said,) = [vars(record) for record in caplog.records]
    assert (said["message"], said["name"], said["lane"]) == ("consumer not removed", lane_module.__name__, LABEL)
    bench.closed.assert_called_once_with()


async def test_claims_are_kept_until_the_stop(make: Make) -> None:
    bench = make()
    keeping = asyncio.create_task(bench.lane.keep_claims(bench.stop))
    await asyncio.sleep(0)
    assert bench.liveness.moved.mock_calls == [call(f"claims {LABEL}")]
    bench.stop.set()
    await asyncio.wait_for(keeping, 20)
