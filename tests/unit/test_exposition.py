"""The text of `/metrics` is the library's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from shared.exposition import metrics_text
from shared.metrics import HTTP_REQUESTS, PREDICTIONS


def test_the_text_is_that_of_the_library() -> None:
    registry = CollectorRegistry()
    Counter("a_total", 'with "quotes" and \\ and\nlines', ["x", "b"], registry=registry).labels('q"\\\n', "ü").inc(2.5)
    Gauge("b", "a gauge", registry=registry).set(float("nan"))
    Histogram("c", "a histogram", ["z"], registry=registry).labels("1").observe(0.3)
    Info("d", "an info", registry=registry).info({"version": "1"})
    assert metrics_text(registry) == generate_latest(registry)


def test_labels_are_not_mixed_up_between_metrics() -> None:
    HTTP_REQUESTS.labels("GET", "/x", "m", "200").inc()
    PREDICTIONS.labels("m", "1", "succeeded").inc()
    for _ in range(2):
        text = metrics_text().decode()
        assert 'millstream_http_requests_total{endpoint="/x",method="GET",model="m",status="200"} ' in text
        assert 'millstream_predictions_total{model="m",status="succeeded",version="1"} ' in text
