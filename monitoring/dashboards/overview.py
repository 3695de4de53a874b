"""Health, latency and errors at a glance."""

from __future__ import annotations

from monitoring.dashboards.choices import ANY_IS_BAD, MODEL_ONLY, NONE_IS_BAD
from monitoring.dashboards.expressions import (
    AGE,
    API,
    DEPTH,
    SERVICES,
    grown,
    idle_is_none,
    percentiles,
    quantile,
    rate,
)
from monitoring.dashboards.panels import Json, dashboard, graph, stat
from monitoring.dashboards.requests import HTTP, requests

LATENCY = "millstream_http_request_duration_seconds"
PREDICT = 'endpoint=~"/api/v1/predict.*"'
FAILED = f'{API},status=~"5.."'


def _now() -> list[Json]:
    return [
        stat(
            "Alerts firing",
            'count(ALERTS{alertstate="firing"}) or 0 * count(up)',
            "short",
            "docs/RUNBOOK.md says what to do for each alert.",
            ANY_IS_BAD,
        ),
        stat(
            "Services down",
            (
                f'count(up{{{SERVICES}}} == 0 or absent(up{{job="gateway"}}) or absent(up{{job="persister"}})) '
                "or 0 * count(up)"
            ),
            "short",
            (
                "Gateways, workers and persisters that Prometheus cannot scrape. No gateway at all, or no persister, "
                "counts as one."
            ),
            ANY_IS_BAD,
        ),
        stat(
            "Versions served",
            "max(millstream_models_active)",
            "short",
            "Model versions served by at least one live worker.",
            NONE_IS_BAD,
        ),
        requests(),
        stat(
            "Error ratio",
            idle_is_none(f"sum({rate(HTTP, FAILED)}) / sum({rate(HTTP, API)})", "gateway"),
            "percentunit",
            "Share of API requests answered with 5xx. The objective allows 0.5 %.",
            ((None, "green"), (0.005, "orange"), (0.05, "red")),
            2,
        ),
        stat(
            "Predict latency, p95",
            idle_is_none(quantile(0.95, LATENCY, "", PREDICT), "gateway"),
            "s",
            "95 % of predict requests were answered faster than this, including waiting.",
            ((None, "green"), (1, "orange"), (5, "red")),
            2,
        ),
        stat(
            "Queued requests",
            f'sum({DEPTH}{{stream=~"requests/.*"}})',
            "short",
            "Requests waiting or running, in all queues; the dashboard Queues shows which.",
            ((None, "green"), (100, "orange"), (1000, "red")),
        ),
        stat(
            "Oldest request",
            f'max({AGE}{{stream=~"requests/.*"}})',
            "s",
            "Age of the oldest unfinished request.",
            ((None, "green"), (30, "orange"), (120, "red")),
        ),
    ]


def _traffic() -> list[Json]:
    return [
        graph(
            "Requests by endpoint",
            [(f"sum by (endpoint) ({rate(HTTP, API)})", "{{endpoint}}")],
            "reqps",
            "API requests answered per second.",
            stacked=True,
        ),
        graph(
            "Responses by status",
            [(f"sum by (status) ({rate(HTTP, API)})", "{{status}}")],
            "reqps",
            (
                "4xx: client error; 499: the client disconnected; 500: failed; 503: refused, or a store unavailable; "
                "504: the deadline passed."
            ),
            stacked=True,
        ),
        graph(
            "Errors and refusals",
            [(grown("millstream_errors_total", "component, kind"), "{{component}} {{kind}}")],
            "short",
            "refused_*: a limit was reached; redis_*, postgres_*: a store was unavailable, and why; "
            "handler: a bug in the gateway.",
        ),
    ]


def _latency() -> list[Json]:
    return [
        graph(
            "Predict latency",
            percentiles(LATENCY, PREDICT),
            "s",
            "All models, including waiting in the queue.",
            ((5, "red"),),
        ),
        graph(
            "Latency by endpoint, p95",
            [(quantile(0.95, LATENCY, "endpoint", API), "{{endpoint}}")],
            "s",
            "Long polls (?wait=) include their waiting time.",
        ),
        graph(
            "Latency by model, p95",
            [(quantile(0.95, LATENCY, "model", f'model=~"$model",model!="",{PREDICT}'), "{{model}}")],
            "s",
            "Which model is slow; the dashboards Models and Queues show whether it computes or waits.",
        ),
    ]


def _slo() -> list[Json]:
    return [
        graph(
            "Error budget burn",
            [(f"millstream:http_error_ratio:rate{window} / 0.005", window) for window in ("5m", "1h", "6h", "3d")],
            "short",
            (
                "At 1, the budget of 0.5 % lasts exactly 30 days. Alerts: 14.4 over an hour, 6 over six hours, 1 over "
                "three days."
            ),
            ((1, "orange"), (14.4, "red")),
        ),
        graph(
            "Latency budget burn",
            [(f"millstream:http_slow_ratio:rate{window} / 0.01", window) for window in ("5m", "1h", "6h", "3d")],
            "short",
            (
                "Objective: 99 % of predict requests are answered within 2.5 s. At 1, the budget of 1 % lasts exactly "
                "30 days. Alerts as for errors."
            ),
            ((1, "orange"), (14.4, "red")),
        ),
        graph(
            "Requests in flight",
            [('sum by (instance) (millstream_http_requests_in_flight{job="gateway"})', "{{instance}}")],
            "short",
            (
                "Requests being answered, by gateway. Many but steady: waiting clients; growing: predictions do not "
                "finish."
            ),
        ),
    ]


def _use() -> list[Json]:
    return [
        graph(
            "CPU",
            [(f"sum by (job, instance) ({rate('process_cpu_seconds_total', SERVICES)})", "{{job}} {{instance}}")],
            "percentunit",
            "Share of one core. A gateway or persister near 100 % is at its limit: start another.",
        ),
        graph(
            "Memory",
            [(f"process_resident_memory_bytes{{{SERVICES}}}", "{{job}} {{instance}}")],
            "bytes",
            "Resident memory. Workers hold their models.",
        ),
        graph(
            "Redis memory",
            [("max by (kind) (millstream_redis_memory_bytes)", "{{kind}}")],
            "bytes",
            "New requests are refused at MAX_MEMORY_PERCENT of the limit (0: no limit).",
        ),
        graph(
            "Postgres connections",
            [
                (
                    'sum by (component, state) (millstream_db_pool_connections{state=~"used|limit"})',
                    "{{component}} {{state}}",
                )
            ],
            "short",
            "In use, and the limit.",
        ),
    ]


def overview() -> Json:
    """Health, latency and errors at a glance."""
    rows = [
        ("Now", 4, _now()),
        ("Traffic and errors", 8, _traffic()),
        ("Latency", 8, _latency()),
        ("Objectives", 8, _slo()),
        ("Resources", 8, _use()),
    ]
    return dashboard(
        "millstream-overview", "Millstream / Overview", "Health, latency and errors at a glance.", rows, [MODEL_ONLY]
    )
