"""Spans of what goes wrong, and of messages whose trace cannot be read, as a collector gets them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from redis.asyncio import Redis

from inference_worker.tracing import LaneSpans
from persister.database import Database
from persister.settings import PersisterSettings
from persister.tracing import PersisterSpans
from scripts.stack.ports import free_port
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.service.settings import Settings
from shared.streams.request_stream import Completed, Delivery
from shared.streams.result_stream import ResultStream
from shared.telemetry import spans
from shared.telemetry.spans import Traces
from tests.access import shard_of
from tests.collector import Collector, running_collector
from tests.gateways import Client, HandWorker, StartGateway, make_persister
from tests.waiting import eventually

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
ID = "01a20d70-d5e6-7383-90ab-972da9b28bd4"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
async def traces(collector: Collector) -> AsyncIterator[Traces]:
    traces = Traces("tested", Settings(otel_exporter_otlp_endpoint=collector.url))
    yield traces
    await traces.close()


def request(traceparent: str = TRACEPARENT) -> PredictionRequest:
    now = time.time_ns() // 1_000_000
    return PredictionRequest(ID, "m", "1", "text", {}, submitted_at=now, deadline_at=now, traceparent=traceparent)


@pytest.mark.parametrize(
    ("outcome", "stands", "failed"),
    [
        (Outcome(Status.EXPIRED, error="the deadline passed after 7 ms in the queue"), True, "expired"),
        (Outcome(Status.FAILED, error="ValueError: it says a-private-text"), True, "ValueError"),
        (Outcome(Status.SUCCEEDED), False, "too_late"),
        (Outcome(Status.SUCCEEDED), True, ""),
    ],
)
async def test_how_a_prediction_ended_is_marked(
    traces: Traces, collector: Collector, outcome: Outcome, stands: bool, failed: str
) -> None:
    lane = LaneSpans(traces, "m", "1")
    lane.finished([Completed(Delivery("1-0", {}, 2), request(), outcome)], [stands], None)
    await traces.close()
    wait, process = collector.of(TRACE_ID)
    assert (wait.name, process.name) == ("wait requests/m/1", "process requests/m/1")
    assert process.failed == failed and wait.failed == ""
    assert process.attributes["millstream.deliveries"] == 2
    assert "a-private-text" not in str(collector.spans)


async def test_a_clock_that_is_behind_makes_no_span_that_ends_before_it_begins(
    traces: Traces, collector: Collector
) -> None:
    lane = LaneSpans(traces, "m", "1")
    late = request()._replace(submitted_at=time.time_ns() // 1_000_000 + 60_000)
    lane.finished([Completed(Delivery("1-0", {}), late, Outcome(Status.SUCCEEDED))], [True], lane.timing(0.5, 3))
    await traces.close()
    assert len(collector.spans) == 3
    assert all(span.started <= span.ended for span in collector.spans)


@pytest.mark.parametrize("traceparent", ["", "rubbish-with-three-01", f"00-{TRACE_ID}-00f067aa0ba902b7-00"])
async def test_a_trace_that_is_not_kept_or_cannot_be_read_makes_no_span(
    traces: Traces, collector: Collector, traceparent: str
) -> None:
    lane = LaneSpans(traces, "m", "1")
    lane.finished([Completed(Delivery("1-0", {}), request(traceparent), Outcome(Status.SUCCEEDED))], [True], None)
    lane.dead_lettered(Delivery("1-0", {b"traceparent": traceparent.encode() + b"\xff"}), "bad_json")
    await traces.close()
    assert collector.spans == []


async def test_a_request_that_is_given_up_is_marked(traces: Traces, collector: Collector) -> None:
    fields = {b"traceparent": TRACEPARENT.encode(), b"id": ID.encode()}
    LaneSpans(traces, "m", "1").dead_lettered(Delivery("1-0", fields, 4), "max_deliveries")
    await traces.close()
    (span,) = collector.of(TRACE_ID)
    assert (span.failed, span.kind) == ("max_deliveries", "consumer")
    assert span.attributes["messaging.message.id"] == ID and span.attributes["millstream.deliveries"] == 4


async def test_a_result_that_postgres_rejects_is_marked_and_stored_as_failed(
    traces: Traces,
    collector: Collector,
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    gateway: Client,
    worker: HandWorker,
) -> None:
    body = {"model": "echo", "text": "hello"}
    answer = await gateway.post("/api/v1/predict?wait=0", json=body, headers={"traceparent": TRACEPARENT})
    assert answer.status == 202
    await worker.serve_one(Outcome(Status.SUCCEEDED, b'{"no": "\\u0000"}', 0.5))  # jsonb holds no NUL
    settings = PersisterSettings(database_url=database_url, persist_max_wait_ms=0, read_block_ms=20)
    store = Database(settings)
    persister = make_persister(settings, redis, keys, store, spans=PersisterSpans(traces))
    stop = asyncio.Event()
    task = asyncio.create_task(persister.run(stop))

    async def stored() -> bool:
        return await database.fetchval("SELECT status FROM predictions") == "failed" and not await redis.xlen(
            keys.results
        )

    await eventually(stored, "the row is stored as failed")
    stop.set()
    await task
    await store.close()
    await traces.close()
    assert [span.failed for span in collector.of(TRACE_ID)] == ["rejected_by_postgres", ""]


async def test_a_dead_letter_keeps_its_trace(
    redis: Redis, keys: Keys, start_gateway: StartGateway, worker: HandWorker
) -> None:
    gateway = await start_gateway()
    body = {"model": "echo", "text": "hello"}
    await gateway.post("/api/v1/predict?wait=0", json=body, headers={"traceparent": TRACEPARENT})
    ((delivery, _),) = await worker.take()
    await ResultStream(shard_of("persister", redis, keys), "p").join()
    assert await worker.stream.dead_letter(delivery, "max_deliveries", "given up")
    (result,) = await ResultStream(shard_of("persister", redis, keys), "p").read(1, 0)
    assert result.fields[b"traceparent"].decode() == TRACEPARENT


async def test_leaving_waits_for_a_collector_that_is_away_only_so_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spans, "FLUSH_S", 0.2)
    traces = Traces("tested", Settings(otel_exporter_otlp_endpoint=f"http://127.0.0.1:{free_port()}"))
    traces.start("lost", "internal", TRACEPARENT).end()
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        await traces.close()
    assert time.monotonic() - started < 2
    assert "traces left unsent" in caplog.text
