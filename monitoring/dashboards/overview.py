"""Is it healthy, what is slow, what fails."""

from __future__ import annotations

from monitoring.dashboards.choices import ANY_IS_BAD, MODEL_ONLY, NONE_IS_BAD
from monitoring.dashboards.expressions import AGE, API, DEPTH, SERVICES, grown, percentiles, quantile, rate
from monitoring.dashboards.panels import Json, dashboard, graph, stat

HTTP = "millstream_http_requests_total"
TOOK = "millstream_http_request_duration_seconds"
PREDICT = 'endpoint=~"/api/v1/predict.*"'
FAILED = f'{API},status=~"5.."'


def _now() -> list[Json]:
    return [
        stat(
            "Alerts firing",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            "short",
            "Alerts that fire now; docs/RUNBOOK.md says what to do for each.",
            ANY_IS_BAD,
        ),
        stat(
            "Services down",
            f"count(up{{{SERVICES}}} == 0) or vector(0)",
            "short",
            "Gateways, workers and persisters that Prometheus knows and that do not answer.",
            ANY_IS_BAD,
        ),
        stat(
            "Versions served",
            "max(millstream_models_active)",
            "short",
            "Model versions that at least one live worker serves.",
            NONE_IS_BAD,
        ),
        stat(
            "Requests",
            f"sum({rate(HTTP, API)})",
            "reqps",
            "API requests answered a second, by all gateways.",
            decimals=1,
        ),
        stat(
            "Failing",
            f"sum({rate(HTTP, FAILED)}) / sum({rate(HTTP, API)}) or vector(0)",
            "percentunit",
            "Share of API requests that ended in a 5xx. The objective allows 0.5 %.",
            ((None, "green"), (0.005, "orange"), (0.05, "red")),
            2,
        ),
        stat(
            "p95 to answer",
            quantile(0.95, TOOK, "", PREDICT),
            "s",
            "19 of 20 prediction requests were answered faster than this, waiting included.",
            ((None, "green"), (1, "orange"), (5, "red")),
            2,
        ),
        stat(
            "Waiting",
            f'sum({DEPTH}{{stream=~"requests/.*"}})',
            "short",
            "Requests that wait or run, in all queues. Which ones: the dashboard Queues.",
            ((None, "green"), (100, "orange"), (1000, "red")),
        ),
        stat(
            "Oldest request",
            f'max({AGE}{{stream=~"requests/.*"}})',
            "s",
            "Age of the oldest request that has no answer yet.",
            ((None, "green"), (30, "orange"), (120, "red")),
        ),
    ]


def _traffic() -> list[Json]:
    return [
        graph(
            "Requests by endpoint",
            [(f"sum by (endpoint) ({rate(HTTP, API)})", "{{endpoint}}")],
            "reqps",
            "API requests answered a second.",
            stacked=True,
        ),
        graph(
            "Answers by status",
            [(f"sum by (status) ({rate(HTTP, API)})", "{{status}}")],
            "reqps",
            (
                "2xx is well; 4xx is the client's doing; 503 is refused, 504 too late, 500 failed; 499 left "
                "before the answer."
            ),
            stacked=True,
        ),
        graph(
            "Errors and refusals",
            [(grown("millstream_errors_total", "component, kind"), "{{component}} {{kind}}")],
            "short",
            "refused_*: a limit was reached; *_unavailable: a store was away; handler: a fault of ours.",
        ),
    ]


def _latency() -> list[Json]:
    return [
        graph(
            "Time to answer a prediction",
            percentiles(TOOK, PREDICT),
            "s",
            "All models, waiting in the queue included.",
            ((5, "red"),),
        ),
        graph(
            "p95 by endpoint",
            [(quantile(0.95, TOOK, "endpoint", API), "{{endpoint}}")],
            "s",
            "Long polls (?wait=) count as long as they wait.",
        ),
        graph(
            "p95 by model",
            [(quantile(0.95, TOOK, "model", f'model=~"$model",model!="",{PREDICT}'), "{{model}}")],
            "s",
            "Which model is slow; the dashboard Models says whether it computes or waits.",
        ),
    ]


def _slo() -> list[Json]:
    return [
        graph(
            "Error budget burn",
            [(f"millstream:http_error_ratio:rate{window} / 0.005", window) for window in ("5m", "1h", "6h", "3d")],
            "short",
            (
                "1 spends exactly the budget of 0.5 % over 30 days. Alerts: 14.4 over an hour, 6 over six hours, "
                "1 over three days."
            ),
            ((1, "orange"), (14.4, "red")),
        ),
        graph(
            "Latency budget burn",
            [(f"millstream:http_slow_ratio:rate{window} / 0.01", window) for window in ("5m", "1h", "6h", "3d")],
            "short",
            (
                "99 % of predict requests are answered within 2.5 s: 1 spends exactly the budget of 1 % over 30 days. "
                "Alerts as for errors."
            ),
            ((1, "orange"), (14.4, "red")),
        ),
        graph(
            "In flight",
            [('sum by (instance) (millstream_http_requests_in_flight{job="gateway"})', "{{instance}}")],
            "short",
            (
                "Requests being answered, by gateway. Many and steady: clients that wait; growing: answers that "
                "do not come."
            ),
        ),
    ]


def _use() -> list[Json]:
    return [
        graph(
            "CPU",
            [(f"sum by (job, instance) ({rate('process_cpu_seconds_total', SERVICES)})", "{{job}} {{instance}}")],
            "percentunit",
            "Share of one core. A gateway or persister near 100 % is at its end: start another.",
        ),
        graph(
            "Memory",
            [(f"process_resident_memory_bytes{{{SERVICES}}}", "{{job}} {{instance}}")],
            "bytes",
            "Resident memory. A worker holds its models.",
        ),
        graph(
            "Redis memory",
            [("max by (kind) (millstream_redis_memory_bytes)", "{{kind}}")],
            "bytes",
            "New requests are refused at 70 % of the limit (0: no limit is set).",
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
            "In use, and how many there may be.",
        ),
    ]


def overview() -> Json:
    """Is it healthy, what is slow, what fails."""
    rows = [
        ("Now", 4, _now()),
        ("Traffic and errors", 8, _traffic()),
        ("Latency", 8, _latency()),
        ("Objective", 8, _slo()),
        ("Resources", 8, _use()),
    ]
    return dashboard(
        "millstream-overview", "Millstream / Overview", "Is it healthy, what is slow, what fails.", rows, [MODEL_ONLY]
    )
