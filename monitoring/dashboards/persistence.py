"""Whether results reach Postgres, and how quickly."""

from __future__ import annotations

from monitoring.dashboards.choices import NONE_IS_BAD
from monitoring.dashboards.expressions import (
    AGE,
    DEPTH,
    PENDING,
    RATE,
    grown,
    idle_is_none,
    mean,
    percentiles,
    quantile,
    rate,
)
from monitoring.dashboards.panels import Json, dashboard, graph, heatmap, stat

LAG = "millstream_persist_lag_seconds"
SIZE = "millstream_persist_batch_size"
RESULTS = 'stream="results"'
POSTGRES_UNAVAILABLE = 'kind=~"postgres_.+"'
PERSISTERS = 'component="persister"'


def _now() -> list[Json]:
    return [
        stat(
            "Not stored yet",
            f"max({DEPTH}{{{RESULTS}}})",
            "short",
            "Results in Redis only. At MAX_RESULTS new requests are refused.",
            ((None, "green"), (1000, "orange"), (50000, "red")),
        ),
        stat(
            "Oldest result",
            f"max({AGE}{{{RESULTS}}})",
            "s",
            "Age of the oldest result that is not in Postgres.",
            ((None, "green"), (10, "orange"), (60, "red")),
        ),
        stat(
            "Lag, p95",
            idle_is_none(quantile(0.95, LAG), "persister"),
            "s",
            "From the end of a prediction to the commit of its row.",
            ((None, "green"), (1, "orange"), (10, "red")),
            2,
        ),
        stat(
            "Rows",
            idle_is_none(f"sum({rate(f'{LAG}_count')})", "persister"),
            "ops",
            "Rows written per second.",
            decimals=1,
        ),
        stat(
            "Persisters up",
            'sum(up{job="persister"})',
            "short",
            "Persisters that Prometheus can scrape.",
            NONE_IS_BAD,
        ),
    ]


def _lag() -> list[Json]:
    return [
        graph("Lag", percentiles(LAG), "s", "From the end of a prediction to the commit of its row.", ((10, "red"),)),
        heatmap(
            "Lag, distribution",
            f"sum by (le) (increase({LAG}_bucket[{RATE}]))",
            "s",
            "A second, slower band: some results are delayed, for example because a persister died with them.",
        ),
    ]


def _backlog() -> list[Json]:
    return [
        graph(
            "Results in Redis",
            [(f"{DEPTH}{{{RESULTS}}}", "depth"), (f"{PENDING}{{{RESULTS}}}", "pending")],
            "short",
            "If the depth grows, Postgres or the persisters are too slow or down. pending: read by a persister.",
        ),
        graph(
            "Age of the oldest result",
            [(f"{AGE}{{{RESULTS}}}", "oldest")],
            "s",
            "If it rises by one second per second, nothing is being stored.",
            ((60, "red"),),
        ),
        graph(
            "Rows and batches",
            [(f"sum({rate(f'{LAG}_count')})", "rows"), (f"sum({rate(f'{SIZE}_count')})", "batches")],
            "ops",
            "Rows and statements per second.",
        ),
    ]


def _work() -> list[Json]:
    return [
        graph(
            "Batch size",
            [(quantile(0.5, SIZE), "p50"), (quantile(0.95, SIZE), "p95"), (mean(SIZE), "mean")],
            "short",
            "Rows written together; it grows with the load.",
        ),
        graph(
            "Postgres connections",
            [("sum by (component, state) (millstream_db_pool_connections)", "{{component}} {{state}}")],
            "short",
            "Of gateways (history, lookups) and persisters. If used reaches the limit, queries wait for a connection.",
        ),
        graph(
            "Connections in use",
            [
                (
                    (
                        'sum by (component) (millstream_db_pool_connections{state="used"}) / sum by (component) '
                        '(millstream_db_pool_connections{state="limit"})'
                    ),
                    "{{component}}",
                )
            ],
            "percentunit",
            "Share of the limit.",
            ((0.9, "red"),),
        ),
    ]


def _faults() -> list[Json]:
    return [
        graph(
            "Postgres unavailable",
            [(grown("millstream_errors_total", "component, kind", POSTGRES_UNAVAILABLE), "{{component}} {{kind}}")],
            "short",
            "Failed attempts to use Postgres, and why. Predictions go on meanwhile.",
        ),
        graph(
            "Persister errors",
            [(grown("millstream_errors_total", "kind", PERSISTERS), "{{kind}}")],
            "short",
            "All errors counted by persisters.",
        ),
        graph(
            "Redeliveries and dead letters",
            [
                (grown("millstream_redeliveries_total", "stream", RESULTS), "redelivered"),
                (grown("millstream_dead_letters_total", "reason", RESULTS), "dead letter: {{reason}}"),
            ],
            "short",
            "Results of persisters that died or stalled; results that cannot be decoded or that Postgres rejects.",
        ),
    ]


def persistence() -> Json:
    """Whether results reach Postgres, and how quickly."""
    rows = [
        ("Now", 4, _now()),
        ("Lag", 8, _lag()),
        ("Backlog", 8, _backlog()),
        ("Work", 8, _work()),
        ("Faults", 8, _faults()),
    ]
    return dashboard(
        "millstream-persistence",
        "Millstream / Persistence",
        "Whether results reach Postgres, and how quickly.",
        rows,
        [],
    )
