"""Whether results reach Postgres, and how late."""

from __future__ import annotations

from monitoring.dashboards.choices import NONE_IS_BAD
from monitoring.dashboards.expressions import AGE, DEPTH, PENDING, RATE, grown, mean, percentiles, quantile, rate
from monitoring.dashboards.panels import Json, dashboard, graph, heatmap, stat

LAG = "millstream_persist_lag_seconds"
SIZE = "millstream_persist_batch_size"
RESULTS = 'stream="results"'
POSTGRES_AWAY = 'kind="postgres_unavailable"'
PERSISTERS = 'component="persister"'


def _now() -> list[Json]:
    return [
        stat(
            "Not stored yet",
            f"{DEPTH}{{{RESULTS}}}",
            "short",
            "Results in Redis. At MAX_RESULTS new requests are refused.",
            ((None, "green"), (1000, "orange"), (50000, "red")),
        ),
        stat(
            "Oldest result",
            f"{AGE}{{{RESULTS}}}",
            "s",
            "Age of the oldest result not in Postgres.",
            ((None, "green"), (10, "orange"), (60, "red")),
        ),
        stat(
            "Lag, p95",
            quantile(0.95, LAG),
            "s",
            "From the end of a prediction to its committed row.",
            ((None, "green"), (1, "orange"), (10, "red")),
            2,
        ),
        stat("Rows", f"sum({rate(f'{LAG}_count')})", "ops", "Rows written a second.", decimals=1),
        stat(
            "Persisters up",
            'count(up{job="persister"} == 1) or vector(0)',
            "short",
            "Persisters that answer.",
            NONE_IS_BAD,
        ),
    ]


def _late() -> list[Json]:
    return [
        graph("Lag", percentiles(LAG), "s", "From the end of a prediction to its committed row.", ((10, "red"),)),
        heatmap(
            "Lag, distribution",
            f"sum by (le) (increase({LAG}_bucket[{RATE}]))",
            "s",
            "Two bands: some results wait for something, such as a persister that died with them in hand.",
        ),
    ]


def _backlog() -> list[Json]:
    return [
        graph(
            "Results in Redis",
            [(f"{DEPTH}{{{RESULTS}}}", "depth"), (f"{PENDING}{{{RESULTS}}}", "in a persister's hands")],
            "short",
            "Depth grows: Postgres or the persisters are too slow, or away.",
        ),
        graph(
            "Age of the oldest result",
            [(f"{AGE}{{{RESULTS}}}", "oldest")],
            "s",
            "A slope of one second a second: nothing is stored.",
            ((60, "red"),),
        ),
        graph(
            "Rows and batches",
            [(f"sum({rate(f'{LAG}_count')})", "rows"), (f"sum({rate(f'{SIZE}_count')})", "batches")],
            "ops",
            "Rows and statements a second.",
        ),
    ]


def _work() -> list[Json]:
    return [
        graph(
            "Batch size",
            [(quantile(0.5, SIZE), "p50"), (quantile(0.95, SIZE), "p95"), (mean(SIZE), "mean")],
            "short",
            "Rows written together; it grows with the load by itself.",
        ),
        graph(
            "Postgres connections",
            [("sum by (component, state) (millstream_db_pool_connections)", "{{component}} {{state}}")],
            "short",
            "Of gateways (history, lookups) and persisters. used at limit: others wait for a connection.",
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
            "Share of the connections there may be.",
            ((0.9, "red"),),
        ),
    ]


def _faults() -> list[Json]:
    return [
        graph(
            "Postgres away",
            [(grown("millstream_errors_total", "component", POSTGRES_AWAY), "{{component}}")],
            "short",
            "Failed tries to reach Postgres. Predicting goes on meanwhile.",
        ),
        graph(
            "Errors of persisters",
            [(grown("millstream_errors_total", "kind", PERSISTERS), "{{kind}}")],
            "short",
            "Everything that persisters count as an error.",
        ),
        graph(
            "Taken over, given up",
            [
                (grown("millstream_redeliveries_total", "stream", RESULTS), "taken over"),
                (grown("millstream_dead_letters_total", "reason", RESULTS), "given up: {{reason}}"),
            ],
            "short",
            "Results of a persister that died, and results that can't be read or that Postgres rejects.",
        ),
    ]


def persistence() -> Json:
    """Whether results reach Postgres, and how late."""
    rows = [
        ("Now", 4, _now()),
        ("How late", 8, _late()),
        ("Backlog", 8, _backlog()),
        ("Work", 8, _work()),
        ("Faults", 8, _faults()),
    ]
    return dashboard(
        "millstream-persistence", "Millstream / Persistence", "Whether results reach Postgres, and how late.", rows, []
    )
