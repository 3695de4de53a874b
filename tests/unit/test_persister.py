"""The persister's loops: what they ask for and when, how they wait, and that they report under their names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from unittest.mock import Mock, call

import pytest
from prometheus_client import REGISTRY

from persister import persister as module
from persister.database import Database
from persister.partitions import months_from
from persister.persister import Persister
from persister.rows import Row
from persister.settings import PersisterSettings
from persister.tracing import PersisterSpans
from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import RowRejected
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.deployment import Deployment
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Delivery
from shared.streams.result_stream import READ_BYTES, ResultStream, size_of
from tests.unit.test_batch_writer import deliveries, delivery

GONE = StoreUnavailable("redis", "gone", "connection")
SLOW = StoreUnavailable("postgres", "not done", "slow")
SETTINGS = PersisterSettings(
    persist_batch_size=10, persist_max_wait_ms=50, read_block_ms=700, claim_interval_ms=3000, visibility_timeout_ms=9000
)


class Bounded(Liveness):
    """A liveness that ends a loop which goes on for ever: nothing here makes one wait."""

    def moved(self, loop: str) -> None:
        super().moved(loop)
        assert self.turns[loop] < 100, f"{loop} goes on for ever"


class Around:
    """What stands around a persister: stores that do as they are told, a clock, and what it waited for.

    Attributes:
        reads: what the next reads of new results bring; after the last one, the stop is set.
        pauses: after each of them, how many failures in a row there were.
        waits: of which loops, and how long in seconds.
        slept: in seconds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop = asyncio.Event()
        self.now_s = 1000.0
        self.reads: list[Sequence[Delivery]] = []
        self.pauses: list[int] = []
        self.waits: list[tuple[str, float]] = []
        self.slept: list[float] = []
        self.liveness = Bounded(30, lambda: self.now_s)
        self.stream, self.database, self.redis = Mock(ResultStream), Mock(Database), Mock(RedisWatch)
        self.spans = Mock(PersisterSpans)
        self.stream.deployment = Mock(Deployment)
        self.stream.claim.return_value = []
        self.stream.read.side_effect = self._read
        self.database.check.return_value = "its id"
        monkeypatch.setattr(module, "time", Mock(monotonic=lambda: self.now_s))
        monkeypatch.setattr(module, "asyncio", Mock(sleep=self._sleep, create_task=asyncio.create_task))
        monkeypatch.setattr(Backoff, "pause", self._pause())
        monkeypatch.setattr(self.liveness, "wait", self._wait)
        self.persister = Persister(SETTINGS, self.stream, self.database, self.liveness, self.redis, self.spans)

    async def run(self, *reads: Sequence[Delivery]) -> None:
        """Run the loop until these reads are done."""
        self.reads = [*reads]
        await self.persister.run(self.stop)

    async def _read(self, count: int, block_ms: int, most_bytes: int = READ_BYTES) -> Sequence[Delivery]:
        read = self.reads.pop(0) if self.reads else []
        if not self.reads:
            self.stop.set()
        return read

    async def _sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)

    async def _wait(self, loop: str, stop: asyncio.Event, timeout_s: float) -> bool:
        self.waits.append((loop, timeout_s))
        stop.set()
        return True

    def _pause(self) -> Callable[[Backoff, asyncio.Event], Any]:
        async def pause(backoff: Backoff, stop: asyncio.Event) -> None:
            assert stop is self.stop
            backoff.next_pause(0)
            self.pauses.append(backoff.failures)

        return pause


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Around:
    return Around(monkeypatch)


def errors(kind: str) -> float:
    """How many of these were counted."""
    return REGISTRY.get_sample_value("millstream_errors_total", {"component": "persister", "kind": kind}) or 0.0


async def test_both_stores_are_looked_at_and_partitions_are_there_before_anything_is_read(around: Around) -> None:
    order = Mock()
    for name in ("stream", "database", "redis"):
        order.attach_mock(getattr(around, name), name)
    assert around.persister.unavailable == "starting"
    await around.run([])
    made = len(list(months_from(datetime.now(UTC), SETTINGS.partition_months_ahead)))
    asked = [name for name, *_ in order.mock_calls]
    assert asked == [
        *("redis.require", "database.check", "stream.deployment.bind", *["database.make_partition"] * made),
        *("stream.join", "stream.claim", "stream.remove_idle", "stream.read", "stream.leave"),
    ]
    assert around.stream.deployment.bind.await_args == call("its id")
    assert around.persister.unavailable is None


async def test_while_all_goes_well_the_stores_are_looked_at_once(around: Around) -> None:
    await around.run(deliveries(10), deliveries(10), [])
    assert (around.redis.require.await_count, around.database.check.await_count) == (1, 1)


async def test_after_an_outage_the_stores_are_looked_at_again_but_partitions_are_not_made_again(
    around: Around,
) -> None:
    around.redis.require.side_effect = [GONE, None, None]
    around.stream.join.side_effect = [GONE, None]
    before = errors("redis_connection")
    await around.run([])
    assert around.database.check.await_count == 2  # once before each `join`
    assert around.database.make_partition.await_count == SETTINGS.partition_months_ahead + 1
    assert errors("redis_connection") == before + 2
    assert around.pauses == [1, 2]


async def test_an_outage_is_told_until_a_turn_succeeds(around: Around, caplog: pytest.LogCaptureFixture) -> None:
    told = []
    around.redis.require.side_effect = [GONE, None]
    around.stream.join.side_effect = lambda: told.append(around.persister.unavailable)
    await around.run([])
    assert told == ["redis cannot be reached: gone"] and around.persister.unavailable is None
    (line,) = [each for each in caplog.records if each.message == "store unavailable"]
    known = {"name": module.__name__, "store": "redis", "reason": "connection"}
    assert {name: line.__dict__[name] for name in known} == known


async def test_pauses_are_short_again_after_a_success(around: Around) -> None:
    around.database.insert.side_effect = [GONE, GONE, None, GONE, None]
    await around.run(*[deliveries(10)] * 2)
    assert around.pauses == [1, 2, 1]


async def test_the_loop_reports_under_its_name_and_its_end_is_no_stall(around: Around) -> None:
    around.database.insert.side_effect = [GONE, None]
    await around.run(deliveries(10), [])
    assert set(around.liveness.turns) == {"persist"}
    assert around.liveness.turns["persist"] == 7  # begun, partitions, read, two statements, a failure, read
    around.now_s += 60
    assert around.liveness.stalled() == {}
    assert around.stream.leave.await_count == 1


async def test_a_consumer_that_cannot_be_removed_is_no_error(around: Around) -> None:
    around.stream.leave.side_effect = GONE
    await around.run([])
    around.now_s += 60
    assert around.liveness.stalled() == {}


async def test_partitions_at_the_start_may_take_their_time(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement has a limit of its own, but they are several."""
    moving, made = Mock(side_effect=around.liveness.moving), []
    monkeypatch.setattr(around.liveness, "moving", moving)
    around.database.make_partition.side_effect = lambda partition: made.append(moving.call_args)
    await around.run([])
    assert made == [call("persist")] * (SETTINGS.partition_months_ahead + 1)


async def test_a_batch_is_kept_and_tried_again_until_it_is_stored_even_while_stopping(around: Around) -> None:
    around.database.insert.side_effect = [GONE, GONE, None]
    await around.run(deliveries(10))  # the stop comes with it
    assert [len(each.args[0]) for each in around.database.insert.await_args_list] == [10] * 3
    assert around.stream.read.await_count == 1 and around.stream.forget.await_count == 1
    assert around.slept == [0.2, 0.2]  # the pauses of a backoff end at once with a stop
    assert around.spans.batch_begun.call_count == 1 and around.spans.stored.call_count == 1


async def test_without_a_stop_a_failed_batch_waits_for_the_backoff_alone(around: Around) -> None:
    around.database.insert.side_effect = [GONE, None]
    await around.run(deliveries(10), [])
    assert (around.slept, around.pauses) == ([], [1])


async def test_results_that_are_left_for_later_are_told_and_the_pauses_grow(around: Around) -> None:
    around.database.insert.side_effect = SLOW
    around.stream.forget.side_effect = AssertionError("nothing is stored")
    before = errors("postgres_slow")
    await around.run(deliveries(1), [])
    assert errors("postgres_slow") == before + 1
    around.stop.clear()
    await around.run(deliveries(1))
    assert around.pauses == [1, 2] and around.persister.unavailable == "postgres cannot be used: not done"


async def test_abandoned_results_are_claimed_until_there_are_none_and_again_after_the_interval(around: Around) -> None:
    around.stream.claim.side_effect = [deliveries(3), deliveries(2), [], []]
    labels = {"stream": "results"}
    before = REGISTRY.get_sample_value("millstream_redeliveries_total", labels) or 0
    for _ in range(2):
        assert await around.persister._next_batch()
    assert around.stream.claim.await_args_list == [call(9000, 10)] * 2 and not around.stream.remove_idle.await_count
    assert REGISTRY.get_sample_value("millstream_redeliveries_total", labels) == before + 5
    for later_s, claims in ((0, 3), (2.999, 3), (1, 4)):
        around.now_s += later_s
        assert await around.persister._next_batch() == []
        assert around.stream.claim.await_count == claims
        assert around.stream.remove_idle.await_args_list == [call(9000)] * (claims - 2)


LEFT = READ_BYTES - sum(map(size_of, deliveries(4)))  # bytes that four leave to the rest of their batch


@pytest.mark.parametrize(
    ("first", "reads", "waited"),
    [(4, [call(10, 700), call(6, 0, LEFT)], [0.05]), (10, [call(10, 700)], []), (0, [call(10, 700)], [])],
)
async def test_a_batch_that_is_not_full_waits_once_and_takes_what_still_fits(
    around: Around, first: int, reads: list[Any], waited: list[float]
) -> None:
    around.reads = [deliveries(first), deliveries(2)]
    assert len(await around.persister._next_batch()) == (6 if first == 4 else first)
    assert (around.stream.read.await_args_list, around.slept) == (reads, waited)


async def test_a_batch_that_is_as_large_as_may_be_does_not_wait(around: Around) -> None:
    around.reads = [[delivery(0, input=b'"%s"' % (b"x" * READ_BYTES))], deliveries(2)]
    assert len(await around.persister._next_batch()) == 1
    assert around.slept == [] and around.stream.read.await_count == 1


async def test_one_batch_and_no_more_is_read_while_another_is_written(around: Around) -> None:
    read_meanwhile = []

    async def insert(rows: Sequence[Row]) -> None:
        for _ in range(9):
            await asyncio.sleep(0)
        read_meanwhile.append(around.stream.read.await_count)

    around.database.insert.side_effect = insert
    await around.run(deliveries(10), deliveries(10), deliveries(10))  # the stop comes with the last
    assert read_meanwhile == [2, 3, 3]
    assert around.stream.forget.await_count == 3  # what was read is written, stop or not


async def test_what_was_read_ahead_of_results_that_are_left_for_later_is_stored(around: Around) -> None:
    async def insert(rows: Sequence[Row]) -> None:
        await asyncio.sleep(0)
        if len(rows) == 1:
            raise SLOW

    around.database.insert.side_effect = insert
    await around.run(deliveries(1), [], deliveries(10))
    assert [len(each.args[0]) for each in around.stream.forget.await_args_list] == [10]


async def test_nothing_is_read_ahead_of_a_claim_that_is_due(around: Around) -> None:
    async def insert(rows: Sequence[Row]) -> None:
        await asyncio.sleep(0)
        around.now_s += 3

    order = Mock()
    around.database.insert.side_effect = insert
    order.attach_mock(around.stream, "stream")
    await around.run(deliveries(10), deliveries(10), deliveries(10), [])
    asked = [name.removeprefix("stream.") for name, *_ in order.mock_calls]
    assert "".join(name[0] for name in asked if name in ("read", "claim", "forget")) == "crrffcrrf"


async def test_a_batch_is_stored_though_reading_ahead_of_it_fails(around: Around) -> None:
    async def read(count: int, block_ms: int) -> Sequence[Delivery]:
        if around.stream.read.await_count == 1:
            return deliveries(10)
        around.stop.set()
        raise GONE

    around.stream.read.side_effect = read
    before = errors("redis_connection")
    await around.persister.run(around.stop)
    assert around.stream.forget.await_count == 1
    assert errors("redis_connection") == before + 1 and around.persister.unavailable == str(GONE)


async def test_a_batch_does_not_wait_if_it_is_told_not_to(around: Around) -> None:
    settings = SETTINGS.model_copy(update={"persist_max_wait_ms": 0})
    persister = Persister(settings, around.stream, around.database, around.liveness, around.redis)
    around.reads = [deliveries(4), deliveries(2)]
    assert len(await persister._next_batch()) == 4
    assert around.slept == [] and around.stream.read.await_count == 1


async def test_partitions_are_made_at_once_and_looked_at_every_hour(around: Around) -> None:
    await around.persister.keep_partitions(around.stop)
    wanted = list(months_from(datetime.now(UTC), SETTINGS.partition_months_ahead))
    assert [each.args[0] for each in around.database.make_partition.await_args_list] == wanted
    assert around.waits == [("partitions", 3600)] and set(around.liveness.turns) == {"partitions"}


class FarEast(datetime):
    """The clock of a machine where it is December already."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FarEast:
        return cls(2026, 11, 30, 23, 30, tzinfo=tz) if tz else cls(2026, 12, 1, 8, 30)


async def test_months_are_those_of_utc_as_in_the_ids(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "datetime", FarEast)
    await around.run([])
    await around.persister.keep_partitions(asyncio.Event())
    months = [f"{each.args[0]:%Y-%m-%d}" for each in around.database.make_partition.await_args_list]
    assert months == ["2026-11-01", "2026-12-01", "2027-01-01"] * 2


async def test_partitions_are_tried_again_after_an_outage(around: Around) -> None:
    around.database.make_partition.side_effect = [GONE, GONE, None, None, None]
    before = errors("partition")
    await around.persister.keep_partitions(around.stop)
    assert errors("partition") == before + 2
    assert around.pauses == [1, 2] and around.waits == [("partitions", 3600)]
    assert around.liveness.turns == {"partitions": 5}  # each try and each pause


async def test_partitions_that_cannot_be_made_for_rows_there_are_told_and_the_others_are_made(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    around.database.make_partition.side_effect = [RowRejected("rejected_by_postgres", "why"), None, None]
    before = errors("partition")
    await around.persister.make_partitions(datetime(2026, 11, 30, tzinfo=UTC))
    assert around.database.make_partition.await_count == 3
    assert errors("partition") == before + 1
    (line,) = [each for each in caplog.records if each.message == "partition not made"]
    assert (line.__dict__["partition"], line.__dict__["detail"]) == ("predictions_2026_11", "why")
