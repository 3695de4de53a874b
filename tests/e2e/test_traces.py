"""Traces across the processes, as a collector gets them: one trace from the client's request to the committed row."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from scripts.stack.ports import free_port
from tests.collector import Collector, Span, running_collector
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.waiting import eventually

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT_SPAN = "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN}-01"}
STREAM = "requests/echo/2.0.0"
WHOLE = {
    ("gateway", "POST /api/v1/predict", "server"),
    ("gateway", f"send {STREAM}", "producer"),
    ("inference_worker", f"wait {STREAM}", "internal"),
    ("inference_worker", f"process {STREAM}", "consumer"),
    ("inference_worker", "inference echo 2.0.0", "internal"),
    ("persister", "process results", "consumer"),
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    with running_collector() as running:
        yield running


def traced(url: str, **more: str) -> dict[str, Any]:
    """Settings that turn traces on."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "DRAIN_DELAY_S": "0",
        "LOG_FORMAT": "json",
        **more,
    }


def pipeline(start: Start, settings: dict[str, Any]) -> list[Service]:
    """All three services."""
    return [
        start("gateway", **settings),
        start("inference_worker", WORKER_MODELS="echo", **settings),
        start("persister", **settings),
    ]


async def predict(gateway: Service, text: str = "hello", **headers: str) -> tuple[int, dict[str, Any]]:
    """One prediction on `echo`."""
    async with (
        aiohttp.ClientSession(gateway.url) as session,
        session.post("/api/v1/predict", json={"model": "echo", "text": text}, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


def named(spans: list[Span], name: str) -> Span:
    """The one span of that name."""
    (found,) = [span for span in spans if span.name == name]
    return found


async def test_one_trace_leads_from_the_clients_request_to_the_committed_row(
    start: Start, collector: Collector
) -> None:
    gateway, *_ = pipeline(start, traced(collector.url + "/"))
    status, body = await predict(gateway, **SENT)
    assert status == 200
    await eventually(lambda: len(collector.of(TRACE_ID)) == len(WHOLE), "all spans are collected")
    spans = collector.of(TRACE_ID)
    assert {(span.service, span.name, span.kind) for span in spans} == WHOLE

    server, send = named(spans, "POST /api/v1/predict"), named(spans, f"send {STREAM}")
    wait, process = named(spans, f"wait {STREAM}"), named(spans, f"process {STREAM}")
    inference, persist = named(spans, "inference echo 2.0.0"), named(spans, "process results")
    assert server.parent_id == CLIENT_SPAN
    assert send.parent_id == server.span_id
    assert wait.parent_id == process.parent_id == persist.parent_id == send.span_id
    assert inference.parent_id == process.span_id

    assert wait.ended == process.started <= inference.started <= inference.ended <= process.ended
    assert inference.ended <= persist.started <= persist.ended
    assert server.started <= send.started and send.ended <= server.ended
    assert all(span.started <= span.ended and not span.failed for span in spans)

    assert server.attributes["http.route"] == "/api/v1/predict" and server.attributes["url.path"] == "/api/v1/predict"
    assert server.attributes["http.response.status_code"] == 200 and server.attributes["millstream.model"] == "echo"
    for each in (send, process, persist):
        assert each.attributes["messaging.message.id"] == body["prediction_id"]
    assert not any("hello" in str(value) for span in spans for value in span.attributes.values())


async def test_a_trace_that_the_gateway_begins_is_in_the_logs_and_its_failure_is_marked(
    start: Start, collector: Collector
) -> None:
    services = pipeline(start, traced(collector.url))
    status, body = await predict(services[0], "raise a-very-private-sentence")
    assert status == 500
    await eventually(lambda: len(collector.spans) == len(WHOLE), "all spans are collected")
    (trace_id,) = {span.trace_id for span in collector.spans}
    assert named(collector.spans, "POST /api/v1/predict").failed == "500"
    assert named(collector.spans, f"process {STREAM}").failed == "ValueError"
    assert named(collector.spans, "process results").failed == ""
    assert named(collector.spans, "POST /api/v1/predict").parent_id == ""
    assert "a-very-private-sentence" not in str(collector.spans)

    def life() -> list[dict[str, Any]]:
        lines = [json.loads(line) for service in services for line in service.log.read_text().splitlines()]
        return [line for line in lines if line.get("prediction_id") == body["prediction_id"]]

    await eventually(lambda: len(life()) == 5, "its life is logged, and what the model raised")
    assert {line["trace_id"] for line in life()} == {trace_id}


async def test_a_batch_is_one_publish_with_a_process_for_each_text(start: Start, collector: Collector) -> None:
    gateway, *_ = pipeline(start, traced(collector.url))
    async with aiohttp.ClientSession(gateway.url) as session:
        body = {"model": "echo", "texts": ["a", "b", "c"]}
        async with session.post("/api/v1/predict/batch", json=body, headers=SENT) as answer:
            assert answer.status == 200
    await eventually(lambda: len(collector.of(TRACE_ID)) == 2 + 3 * 4, "all spans are collected")
    spans = collector.of(TRACE_ID)
    assert named(spans, f"send {STREAM}").attributes["messaging.batch.message_count"] == 3
    assert len({span.attributes["messaging.message.id"] for span in spans if span.name == "process results"}) == 3


async def test_what_is_not_sampled_is_not_sent_and_a_client_decides_for_its_own(
    start: Start, collector: Collector
) -> None:
    services = pipeline(start, traced(collector.url, OTEL_TRACES_SAMPLER_ARG="0"))
    await predict(services[0])
    await predict(services[0], traceparent=f"00-{'a' * 32}-{CLIENT_SPAN}-00")
    await predict(services[0], **SENT)
    for service in services:
        assert service.stop() == 0  # which sends what is left
    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    assert len(collector.spans) == len(WHOLE)


async def test_probes_begin_no_trace(start: Start, collector: Collector) -> None:
    gateway = start("gateway", **traced(collector.url))
    async with aiohttp.ClientSession(gateway.url) as session:
        for path in ("/livez", "/nowhere/at/all"):
            async with session.get(path) as answer:
                await answer.read()
    assert gateway.stop() == 0
    assert [span.name for span in collector.spans] == ["GET"]
    assert collector.spans[0].attributes["url.path"] == "/nowhere/at/all"


@pytest.mark.parametrize("trouble", ["nobody listens", "it hangs", "it refuses"])
async def test_a_collector_in_trouble_holds_nobody_up(start: Start, collector: Collector, trouble: str) -> None:
    url = f"http://127.0.0.1:{free_port()}" if trouble == "nobody listens" else collector.url
    collector.status = 400 if trouble == "it refuses" else 200
    if trouble == "it hangs":
        collector.hanging.clear()
    services = pipeline(start, traced(url, OTEL_BSP_MAX_QUEUE_SIZE="16", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8"))
    started = time.monotonic()
    for _ in range(50):
        status, _ = await predict(services[0])
        assert status == 200
    assert time.monotonic() - started < 9  # one export alone is tried for 10 s
    if trouble == "it refuses":
        async with aiohttp.ClientSession(services[0].metrics_url) as session, session.get("/metrics") as answer:
            assert 'millstream_errors_total{component="gateway",kind="trace_export"}' in await answer.text()
    for service in services:
        service.process.terminate()
    assert [service.process.wait(10) for service in services] == [0, 0, 0]


async def test_metrics_lead_to_traces_where_openmetrics_is_asked_for(start: Start, collector: Collector) -> None:
    services = pipeline(start, traced(collector.url))
    await predict(services[0], **SENT)
    await eventually(lambda: len(collector.of(TRACE_ID)) == len(WHOLE), "all spans are collected")
    wanted = {
        "gateway": ["millstream_http_request_duration_seconds"],
        "inference_worker": ["millstream_queue_wait_seconds", "millstream_inference_duration_seconds"],
        "persister": ["millstream_persist_lag_seconds"],
    }
    for service in services:
        async with aiohttp.ClientSession(service.metrics_url) as session:
            async with session.get("/metrics", headers={"Accept": "application/openmetrics-text"}) as answer:
                text = await answer.text()
                assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            async with session.get("/metrics") as answer:
                assert TRACE_ID not in await answer.text()
        assert text.endswith("# EOF\n")
        for name in wanted[service.module]:
            (line,) = [each for each in text.splitlines() if each.startswith(f"{name}_bucket") and "# {" in each]
            assert f'# {{trace_id="{TRACE_ID}"}} ' in line
