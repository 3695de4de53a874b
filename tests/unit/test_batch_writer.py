"""Writing a batch: in which order, in which parts, and what becomes of rows that are refused or too slow."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import Any, cast
from unittest.mock import Mock, call

import pytest
from prometheus_client import REGISTRY

from persister import batch_writer
from persister.batch_writer import BatchWriter, decoded
from persister.rows import Row
from persister.tracing import PersisterSpans
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import uuid7
from shared.postgres.errors import RowRejected
from shared.service.liveness import Liveness
from shared.streams.request_stream import Delivery
from shared.streams.result_stream import Persisted
from shared.telemetry.metrics import PERSIST_LAG

Asked = tuple[str, object]
NOW_S = 1_733_000_005.0  # results were finished 5 s before
TRACED = b"00-" + b"0" * 31 + b"1-0000000000000001-01"
SUMS = ("batch_size_sum", "batch_size_count", "lag_seconds_sum", "lag_seconds_count")


def named(number: int) -> str:
    """The id of a prediction."""
    return uuid7(1_733_000_000_000, number)


def delivery(number: int, **changes: bytes) -> Delivery:
    """A result, of the prediction with this number."""
    fields = {"schema": b"1", "id": named(number).encode(), "model": b"m", "version": b"1", "input": b'{"text":"t"}'}
    fields |= {"status": b"succeeded", "attempt": b"2", "completed_at": b"1733000000000"}
    return Delivery(f"1-{number}", {name.encode(): value for name, value in {**fields, **changes}.items()})


def deliveries(count: int) -> list[Delivery]:
    """So many results."""
    return [delivery(number) for number in range(count)]


class Frozen(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Frozen:
        return cls.fromtimestamp(NOW_S, tz)


class Stores:
    """A Postgres and a result stream that note what they are asked for, and refuse as they are told.

    Attributes:
        most_rows: a statement with more is too slow.
        rejected: texts; a row that holds one in any column is rejected.
        failing: by the name of a call, how often it works before the stores fail once.
        rows: what is stored, by id.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.reason = "slow"
        self.most_rows = sys.maxsize
        self.rejected: set[str] = set()
        self.failing: dict[str, int] = {}
        self.rows: dict[str, Row] = {}

    async def insert(self, rows: Sequence[Row]) -> None:
        self._ask("insert", [row.id for row in rows])
        if any(set(map(str, row)) & self.rejected for row in rows):
            raise RowRejected("rejected_by_postgres", "why")
        if len(rows) > self.most_rows:
            raise StoreUnavailable("postgres", "not done", self.reason)
        self.rows |= {row.id: row for row in rows}

    async def forget(self, persisted: Sequence[Persisted]) -> None:
        self._ask("forget", persisted)

    async def dead_letter(self, refused: Delivery, reason: str, error: str) -> None:
        self._ask("dead letter", (refused.entry, reason, error))

    def _ask(self, call: str, about: object) -> None:
        self.failing[call] = self.failing.get(call, sys.maxsize) - 1
        if self.failing[call] == -1:
            raise StoreUnavailable("redis")
        self.asked.append((call, about))

    def sizes(self) -> list[int]:
        """How many rows were tried at a time."""
        return [len(cast("list[str]", about)) for call, about in self.asked if call == "insert"]

    def of(self, call: str) -> list[Any]:
        """What was asked for by this call."""
        return [about for name, about in self.asked if name == call]


@pytest.fixture
def stores() -> Stores:
    return Stores()


@pytest.fixture
def liveness() -> Liveness:
    return Liveness(30)


@pytest.fixture
def writer(stores: Stores, liveness: Liveness) -> BatchWriter:
    either = cast(Any, stores)
    return BatchWriter(either, either, liveness)


async def write(writer: BatchWriter, batch: Sequence[Delivery]) -> None:
    """Write a batch, calling again as often as it is too slow or a store fails."""
    for _ in range(20):
        with suppress(StoreUnavailable):
            assert await writer.write(await decoded(batch)) is None
            return
    raise AssertionError("it goes on for ever")


def sample(name: str, **labels: str) -> float:
    """The value of a metric."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def exemplars() -> set[str]:
    """The traces that the histogram of lags points to."""
    samples = [sample for metric in PERSIST_LAG.collect() for sample in metric.samples]
    return {each.exemplar.labels["trace_id"] for each in samples if each.exemplar is not None}


async def test_rows_are_committed_before_anything_is_forgotten_and_what_is_refused_comes_last(
    stores: Stores, writer: BatchWriter, liveness: Liveness
) -> None:
    letters = sample("millstream_dead_letters_total", stream="results", reason="bad_status")
    await write(writer, [delivery(0), delivery(1, status=b"?"), delivery(2)])
    assert stores.asked == [
        ("insert", [named(0), named(1), named(2)]),
        ("forget", [Persisted("1-0", named(0), 2), Persisted("1-2", named(2), 2)]),
        ("dead letter", ("1-1", "bad_status", "field 'status' is '?'")),
        ("forget", [Persisted("1-1", named(1), 2)]),
    ]
    assert sample("millstream_dead_letters_total", stream="results", reason="bad_status") == letters + 1
    assert liveness.turns == {"persist": 2}  # the statement, the dead letter


async def test_a_result_that_cannot_be_read_stands_there_as_failed_and_says_why(
    stores: Stores, writer: BatchWriter
) -> None:
    await write(writer, [delivery(0, status=b"?", completed_at=b"?")._replace(entry="1733000000700-0")])
    (row,) = stores.rows.values()
    assert row.error == "the result could not be read: field 'status' is '?'"
    assert row.completed_at == datetime.fromtimestamp(1_733_000_000.7, UTC)


async def test_a_row_that_is_rejected_is_found_by_halving_and_stands_there_as_failed(
    stores: Stores, writer: BatchWriter, caplog: pytest.LogCaptureFixture
) -> None:
    stores.rejected = {"bad"}
    with caplog.at_level(logging.INFO):
        await write(writer, [*deliveries(2), delivery(2, principal=b"bad"), delivery(3)])
    first, second, third, fourth = map(named, range(4))
    assert stores.of("insert") == [
        [first, second, third, fourth],
        [first, second],
        [third, fourth],
        [third],
        [third],  # without its data
        [fourth],
    ]
    assert [each.status for each in stores.rows.values()] == ["succeeded", "succeeded", "failed", "succeeded"]
    logged = {
        each.__dict__["prediction_id"]: each.__dict__["status"] for each in caplog.records if each.message == "stored"
    }
    assert logged == {each.id: each.status for each in stores.rows.values()}
    assert stores.rows[third].error == "the result could not be stored: rejected_by_postgres"
    assert stores.of("dead letter") == [("1-2", "rejected_by_postgres", "why")]
    assert stores.of("forget") == [
        [Persisted(f"1-{number}", named(number), 2) for number in (0, 1, 3)],
        [Persisted("1-2", third, 2)],
    ]


async def test_the_reason_of_a_dead_letter_is_the_first_one(
    stores: Stores, writer: BatchWriter, caplog: pytest.LogCaptureFixture
) -> None:
    stores.rejected = {"bad"}
    await write(writer, [delivery(0, status=b"?", principal=b"bad")])
    assert [reason for _, reason, _ in stores.of("dead letter")] == ["bad_status"]
    (line,) = [each for each in caplog.records if each.message == "result dead-lettered"]
    known = {"entry": "1-0", "prediction_id": named(0), "reason": "bad_status"}
    assert {name: line.__dict__[name] for name in known} == known


async def test_what_is_stored_and_what_is_given_up_on_is_traced(stores: Stores) -> None:
    either, spans = cast(Any, stores), Mock(PersisterSpans)
    batch = [delivery(0, traceparent=TRACED), delivery(1, status=b"?"), delivery(2, id=b"none")]
    await BatchWriter(either, either, Liveness(30), spans).write(await decoded(batch))
    assert spans.mock_calls == [
        call.dead_lettered(batch[1], "bad_status"),
        call.dead_lettered(batch[2], "bad_id"),
        call.stored(list(stores.rows.values())),
    ]
    assert "0" * 31 + "1" in exemplars()


async def test_a_row_of_a_version_that_is_rejected_too_names_no_version(stores: Stores, writer: BatchWriter) -> None:
    stores.rejected = {"bad"}
    await write(writer, [delivery(0, model=b"bad")])
    assert stores.sizes() == [1, 1, 1]  # as it is, without its data, without its version
    assert (stores.rows[named(0)].model, stores.rows[named(0)].version) == ("unreadable", "unreadable")
    assert stores.of("forget") == [[Persisted("1-0", named(0), 2)]]


async def test_a_result_for_which_no_row_can_be_stored_is_counted_dead_lettered_and_forgotten(
    stores: Stores, writer: BatchWriter, caplog: pytest.LogCaptureFixture
) -> None:
    stores.rejected = {named(0)}
    before = sample("millstream_errors_total", component="persister", kind="unstorable")
    await write(writer, deliveries(1))
    assert sample("millstream_errors_total", component="persister", kind="unstorable") == before + 1
    assert stores.asked[-2:] == [
        ("dead letter", ("1-0", "rejected_by_postgres", "why")),
        ("forget", [Persisted("1-0", named(0), 0)]),
    ]
    (line,) = [each for each in caplog.records if each.message == "result not stored"]
    assert (line.name, line.__dict__["prediction_id"]) == ("persister.batch_writer", named(0))


async def test_a_result_without_an_id_is_dead_lettered_and_no_row(stores: Stores, writer: BatchWriter) -> None:
    await write(writer, [delivery(0, id=b"none")])
    assert [call for call, _ in stores.asked] == ["dead letter", "forget"]
    assert stores.of("forget") == [[Persisted("1-0", "", 0)]]


@pytest.mark.parametrize("reason", ["slow", "out_of_memory", "unknown"])
async def test_a_batch_that_is_too_much_is_halved_and_parts_grow_again(
    stores: Stores, writer: BatchWriter, reason: str
) -> None:
    stores.most_rows, stores.reason = 40, reason
    with pytest.raises(StoreUnavailable):
        await writer.write(await decoded(deliveries(64)))
    assert stores.sizes() == [64]
    await write(writer, deliveries(64))
    assert stores.sizes() == [64, 32, 32]
    await write(writer, deliveries(140))  # an eighth more each time
    assert stores.sizes() == [64, 32, 32, 36, 40, 45, 22, 24, 18]
    stores.most_rows, stores.asked = 3, []
    await write(writer, deliveries(8))
    assert stores.sizes() == [8, 4, 2, 3, 3]  # one more where that is more
    parts = (range(2), range(2, 5), range(5, 8))
    assert stores.of("forget") == [[Persisted(f"1-{each}", named(each), 2) for each in part] for part in parts]


async def test_what_fewer_rows_may_suffer_from_as_well_is_tried_again_whole(
    stores: Stores, writer: BatchWriter
) -> None:
    stores.most_rows, stores.reason = 4, "disk_full"
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="not done") as told:
            await writer.write(await decoded(deliveries(8)))
        assert told.value.reason == "disk_full"
    assert stores.sizes() == [8, 8]


async def test_a_row_that_is_too_slow_by_itself_is_left_for_later_and_told(
    stores: Stores, writer: BatchWriter, caplog: pytest.LogCaptureFixture
) -> None:
    stores.most_rows = 0
    with pytest.raises(StoreUnavailable):
        await writer.write(await decoded(deliveries(2)))
    problem = await writer.write(await decoded(deliveries(2)))
    assert problem is not None and (problem.store, problem.reason) == ("postgres", "slow")
    assert stores.sizes() == [2, 1, 1] and stores.of("forget") == []
    left = [each.__dict__["entry"] for each in caplog.records if each.message == "result left for later"]
    assert left == ["1-0", "1-1"]
    stores.most_rows = 1
    await write(writer, deliveries(1))  # it comes again
    assert stores.of("forget") == [[Persisted("1-0", named(0), 2)]]


@pytest.mark.parametrize("call", ["forget", "dead letter"])
async def test_after_an_outage_nothing_is_dead_lettered_twice(stores: Stores, writer: BatchWriter, call: str) -> None:
    batch = [delivery(0), delivery(1, status=b"?"), delivery(2, status=b"?")]
    stores.failing[call] = 1
    await write(writer, batch)
    assert [entry for entry, *_ in stores.of("dead letter")] == ["1-1", "1-2"]
    assert stores.of("forget")[-1] == [Persisted("1-1", named(1), 2), Persisted("1-2", named(2), 2)]


async def test_nothing_is_remembered_of_a_batch_that_is_done(stores: Stores, writer: BatchWriter) -> None:
    """Otherwise its memory would grow, and a result that comes again would stay in the stream."""
    batch = [delivery(0), delivery(1, status=b"?")]
    await write(writer, batch)
    once = list(stores.asked)
    await write(writer, batch)
    assert stores.asked == [*once, *once]


async def test_what_is_stored_is_measured_and_logged_by_id(
    writer: BatchWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batch_writer, "datetime", Frozen)
    before = {name: sample(f"millstream_persist_{name}") for name in SUMS}
    with caplog.at_level(logging.INFO):
        traced = TRACED.replace(b"01-", b"02-")
        await write(writer, [delivery(0, traceparent=traced), delivery(1), delivery(2, id=b"none")])
    assert [sample(f"millstream_persist_{name}") - before[name] for name in SUMS] == [2, 1, 10, 2]
    first, second = (each for each in caplog.records if each.message == "stored")
    known: dict[str, object] = {"prediction_id": named(0), "trace_id": "0" * 31 + "2", "model": "m", "version": "1"}
    known |= {"status": "succeeded", "lag_ms": 5000}
    assert {name: first.__dict__.get(name) for name in known} == known
    assert "0" * 31 + "2" not in exemplars()  # without tracing there is no such trace
    assert second.__dict__["prediction_id"] == named(1) and first.name == "persister.batch_writer"


async def test_a_result_from_a_clock_that_is_ahead_has_no_lag(
    writer: BatchWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "datetime", Frozen)
    before = sample("millstream_persist_lag_seconds_sum")
    await write(writer, [delivery(0, completed_at=b"1733000009000")])
    assert sample("millstream_persist_lag_seconds_sum") == before
