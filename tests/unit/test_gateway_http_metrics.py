"""Requests counted in bulk are counted once, and none is forgotten."""

from __future__ import annotations

from gateway.http.http_metrics import Answered, HttpMetrics
from shared.telemetry.metrics import REGISTRY


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_each_answer_is_counted_once() -> None:
    metrics = HttpMetrics()
    counted = {"method": "GET", "endpoint": "/tally", "model": "m", "status": "200"}
    for seconds in (0.004, 0.2):
        metrics.answered.append(Answered("GET", "/tally", "m", 200, seconds, None))
    metrics.answered.append(Answered("GET", "/tally", "m", 404, 0.2, {"trace_id": "ab" * 16}))
    metrics.in_flight = 3
    metrics.count()
    metrics.count()
    assert _value("millstream_http_requests_total", **counted) == 2
    assert _value("millstream_http_requests_total", **{**counted, "status": "404"}) == 1
    assert _value("millstream_http_request_duration_seconds_count", endpoint="/tally", model="m") == 3
    assert _value("millstream_http_request_duration_seconds_bucket", endpoint="/tally", model="m", le="0.005") == 1
    assert _value("millstream_http_requests_in_flight") == 3
