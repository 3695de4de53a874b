"""Where it waits, since when, and whether it gets better."""

from __future__ import annotations

from monitoring.dashboards.choices import ANY_IS_BAD, MODEL, NONE_IS_BAD, VERSION
from monitoring.dashboards.expressions import (
    AGE,
    BY_VERSION,
    CHOSEN,
    DEPTH,
    PENDING,
    RATE,
    REQUESTS,
    SERVED,
    STREAMS,
    grown,
    quantile,
    rate,
)
from monitoring.dashboards.panels import Json, dashboard, graph, stat, table

DONE = "millstream_predictions_total"


def _now() -> list[Json]:
    return [
        stat(
            "Waiting",
            f"sum({DEPTH}{{{REQUESTS}}})",
            "short",
            "Requests that wait or run.",
            ((None, "green"), (100, "orange"), (1000, "red")),
        ),
        stat(
            "Oldest request",
            f"max({AGE}{{{REQUESTS}}})",
            "s",
            "Since when somebody waits.",
            ((None, "green"), (30, "orange"), (120, "red")),
        ),
        stat(
            "Unserved queues",
            f"count(({DEPTH}{{{REQUESTS}}} > 0) and on (stream) ({SERVED} == 0)) or vector(0)",
            "short",
            "Queues in which requests wait and that no live worker serves.",
            ANY_IS_BAD,
        ),
        stat(
            "Workers live",
            f"sum({SERVED}{{{REQUESTS}}})",
            "short",
            "Live workers, counted once for each version that they serve.",
            NONE_IS_BAD,
        ),
        stat(
            "Results not stored",
            f'{DEPTH}{{stream="results"}}',
            "short",
            "Finished predictions that are not in Postgres yet.",
            ((None, "green"), (1000, "orange"), (50000, "red")),
        ),
        stat(
            "Dead letters",
            f'{DEPTH}{{stream="dead"}}',
            "short",
            "Entries given up on that nobody has replayed or deleted: make dead-letters.",
            ((None, "green"), (1, "orange")),
        ),
    ]


def _depth() -> list[Json]:
    return [
        graph(
            "Depth",
            [(f"{DEPTH}{{{STREAMS}}}", "{{stream}}")],
            "short",
            "Entries that wait or run. A line that climbs is a queue that grows.",
            ((1000, "orange"),),
        ),
        graph(
            "Age of the oldest entry",
            [(f"{AGE}{{{STREAMS}}}", "{{stream}}")],
            "s",
            "A slope of one second a second: nothing leaves this queue.",
            ((120, "red"),),
        ),
    ]


def _flow() -> list[Json]:
    return [
        graph(
            "Arrivals less departures",
            [(f"deriv({DEPTH}{{{STREAMS}}}[{RATE}])", "{{stream}}")],
            "cps",
            "How fast each queue grows (above zero) or drains (below), in entries a second.",
            least=None,
        ),
        graph(
            "Drain rate",
            [
                (f"sum by (model, version) ({rate(DONE, CHOSEN)})", BY_VERSION),
                (f"sum({rate('millstream_persist_lag_seconds_count')})", "results"),
            ],
            "cps",
            "Entries that left each queue a second.",
        ),
        graph(
            "Time to empty",
            [
                (
                    (
                        f"sum by (stream) ({DEPTH}{{{REQUESTS}}}) / sum by (stream) "
                        f'(label_replace(label_join({rate(DONE, CHOSEN)}, "stream", "/", "model", "version"), '
                        '"stream", "requests/$1", "stream", "(.+)"))'
                    ),
                    "{{stream}}",
                )
            ],
            "s",
            "Depth over drain rate: how long the last request in the queue will wait.",
        ),
    ]


def _wait() -> list[Json]:
    return [
        graph(
            "Wait in the queue, p95",
            [(quantile(0.95, "millstream_queue_wait_seconds", "model, version", CHOSEN), BY_VERSION)],
            "s",
            "From accepting a request until its computing began.",
        ),
        graph(
            "Pending",
            [(f"{PENDING}{{{STREAMS}}}", "{{stream}}")],
            "short",
            "Entries that are in the hands of a worker (or a persister).",
        ),
        graph(
            "Workers live",
            [(f"max by (model, version) (millstream_workers_live{{{CHOSEN}}})", BY_VERSION)],
            "short",
            "Live workers that serve each version. Zero with a queue: nobody comes for it.",
        ),
    ]


def _faults() -> list[Json]:
    return [
        graph(
            "Taken over from the dead",
            [(grown("millstream_redeliveries_total", "stream"), "{{stream}}")],
            "short",
            "Entries whose worker or persister died or stalled, taken over by another after the visibility timeout.",
        ),
        graph(
            "Given up on",
            [(grown("millstream_dead_letters_total", "stream, reason"), "{{stream}} {{reason}}")],
            "short",
            (
                "Entries moved to the dead letters. poison: delivered too often; aged_out: deleted after their "
                "days were over."
            ),
        ),
        graph(
            "Dead letters waiting",
            [(f'{DEPTH}{{stream="dead"}}', "dead letters")],
            "short",
            "They stay until somebody replays or deletes them, or their days are over.",
            ((1, "orange"),),
        ),
    ]


def _streams() -> list[Json]:
    return [
        table(
            "Streams now",
            ("stream",),
            {
                "depth": (f"sum by (stream) ({DEPTH})", "short"),
                "pending": (f"sum by (stream) ({PENDING})", "short"),
                "oldest": (f"sum by (stream) ({AGE})", "s"),
                "workers": (f"sum by (stream) ({SERVED})", "short"),
            },
            "Every stream, whatever is chosen above.",
        )
    ]


def queues() -> Json:
    """Where it waits, since when, and whether it gets better."""
    rows = [
        ("Now", 4, _now()),
        ("How much, since when", 9, _depth()),
        ("Does it get better", 8, _flow()),
        ("Who waits for whom", 8, _wait()),
        ("Faults", 8, _faults()),
        ("Each stream", 8, _streams()),
    ]
    return dashboard(
        "millstream-queues",
        "Millstream / Queues",
        "Where it waits, since when, and whether it gets better.",
        rows,
        [MODEL, VERSION],
    )
