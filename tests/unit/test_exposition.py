"""The text of `/metrics` is the library's own, in both formats."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from shared.telemetry.exposition import CONTENT_TYPE, exposition, metrics_text, prefers_openmetrics
from shared.telemetry.metrics import HTTP_REQUESTS, PREDICTIONS, QUEUE_WAIT

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """Metrics of every kind, with what is hard to write."""
    registry = CollectorRegistry()
    Counter("a_total", 'with "quotes" and \\ and\nlines', ["x", "b"], registry=registry).labels('q"\\\n', "ü").inc(2.5)
    Gauge("b", "a gauge", registry=registry).set(float("nan"))
    Gauge("computed", "by a function", registry=registry).set_function(lambda: 7)
    labelled = Histogram("c", "a histogram", ["z", "a"], registry=registry, buckets=(0.1, 1, 30))
    labelled.labels("1", 'q"').observe(0.3)
    labelled.labels("2", "-").observe(31, {"trace_id": "ab" * 16})
    labelled.labels("2", "-").observe(0.05, {"trace_id": "cd" * 16, "odd": 'q"'})
    Histogram("never_observed", "a histogram", ["z"], registry=registry)
    plain = Histogram("plain_seconds", "without labels", unit="seconds", registry=registry)
    for number in range(1_234_567 // 1000):
        plain.observe(number * 1000.5)
    Info("d", "an info", registry=registry).info({"version": "1"})
    GCCollector(registry)
    gc.disable()  # a collection between two renderings would change what is compared
    yield registry
    gc.enable()


def test_the_plain_text_is_that_of_the_library(registry: CollectorRegistry) -> None:
    for _ in range(2):
        assert metrics_text(registry) == generate_latest(registry)


def test_the_openmetrics_text_is_that_of_the_library(registry: CollectorRegistry) -> None:
    for _ in range(2):
        expected = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        assert metrics_text(registry, openmetrics=True) == expected


def test_the_openmetrics_of_the_services_can_be_read_by_its_parser() -> None:
    QUEUE_WAIT.labels("exposed", "1").observe(0.2, {"trace_id": "ab" * 16})
    text = metrics_text(openmetrics=True).decode()
    families = {each.name: each for each in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    samples = families["millstream_queue_wait_seconds"].samples
    assert [each.exemplar.labels for each in samples if each.exemplar] == [{"trace_id": "ab" * 16}]


def test_labels_are_not_mixed_up_between_metrics() -> None:
    HTTP_REQUESTS.labels("GET", "/x", "m", "200").inc()
    PREDICTIONS.labels("m", "1", "succeeded").inc()
    for _ in range(2):
        text = metrics_text().decode()
        assert 'millstream_http_requests_total{endpoint="/x",method="GET",model="m",status="200"} ' in text
        assert 'millstream_predictions_total{model="m",status="succeeded",version="1"} ' in text


def test_a_series_that_went_and_came_back_has_its_labels() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("g", "a gauge", ["x"], registry=registry)
    for value in ("a", "b", "a"):
        gauge.clear()
        gauge.labels(value).set(1)
        assert metrics_text(registry) == generate_latest(registry)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain;q=0.4", True),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=much", False),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
        (";;=,", False),
    ],
)
def test_openmetrics_is_answered_only_where_it_is_asked_for(accept: str, openmetrics: bool) -> None:
    assert prefers_openmetrics(accept) is openmetrics
    body, content_type = exposition(accept, CollectorRegistry())
    assert (body == b"# EOF\n") is openmetrics
    assert content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8" if openmetrics else CONTENT_TYPE
    )
