"""What is waiting, for how long, and whether it is getting better."""

from __future__ import annotations

from monitoring.dashboards.choices import ANY_IS_BAD, MODEL, NONE_IS_BAD, VERSION
from monitoring.dashboards.expressions import (
    AGE,
    AGE_BY_PRIORITY,
    BY_VERSION,
    CHOSEN,
    DEPTH,
    DEPTH_BY_PRIORITY,
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
            "Queued requests",
            f"sum({DEPTH}{{{REQUESTS}}})",
            "short",
            "Requests waiting or running.",
            ((None, "green"), (100, "orange"), (1000, "red")),
        ),
        stat(
            "Oldest request",
            f"max({AGE}{{{REQUESTS}}})",
            "s",
            "Age of the oldest unfinished request.",
            ((None, "green"), (30, "orange"), (120, "red")),
        ),
        stat(
            "Unserved queues",
            (
                f"count(({DEPTH}{{{REQUESTS}}} > 0) unless on (stream) ({SERVED} > 0)) "
                f"or 0 * count({DEPTH}{{{REQUESTS}}})"
            ),
            "short",
            "Queues with waiting requests that no live worker serves.",
            ANY_IS_BAD,
        ),
        stat(
            "Workers live",
            f"sum({SERVED}{{{REQUESTS}}})",
            "short",
            "Live workers, counted once for each version they serve.",
            NONE_IS_BAD,
        ),
        stat(
            "Results not stored yet",
            f'max({DEPTH}{{stream="results"}})',
            "short",
            "Finished predictions that are not in Postgres yet.",
            ((None, "green"), (1000, "orange"), (50000, "red")),
        ),
        stat(
            "Dead letters",
            f'max({DEPTH}{{stream="dead"}})',
            "short",
            "Dead letters that nobody has replayed or deleted; list them with: make dead-letters.",
            ((None, "green"), (1, "orange")),
        ),
    ]


def _depth() -> list[Json]:
    return [
        graph(
            "Queue depth",
            [(f"{DEPTH}{{{STREAMS}}}", "{{stream}}")],
            "short",
            "Entries waiting or running.",
            ((1000, "orange"),),
        ),
        graph(
            "Age of the oldest entry",
            [(f"{AGE}{{{STREAMS}}}", "{{stream}}")],
            "s",
            "If it rises by one second per second, nothing leaves this queue.",
            ((120, "red"),),
        ),
    ]


def _priorities() -> list[Json]:
    return [
        graph(
            "Depth by priority",
            [(f"sum by (priority) ({DEPTH_BY_PRIORITY}{{{REQUESTS}}})", "{{priority}}")],
            "short",
            "Requests waiting or running. What is batch may be many: a worker leaves it one pass in eight.",
            stacked=True,
        ),
        graph(
            "Oldest by priority",
            [(f"max by (priority) ({AGE_BY_PRIORITY}{{{REQUESTS}}})", "{{priority}}")],
            "s",
            "Age of the oldest unfinished request. What is batch may be old, what is interactive should not be.",
        ),
        graph(
            "Waiting time by priority, p95",
            [(quantile(0.95, "millstream_queue_wait_seconds", "priority", CHOSEN), "{{priority}}")],
            "s",
            "From the acceptance of a request to the start of its computing.",
        ),
    ]


def _flow() -> list[Json]:
    return [
        graph(
            "Arrivals minus departures",
            [(f"deriv({DEPTH}{{{STREAMS}}}[{RATE}])", "{{stream}}")],
            "cps",
            "How fast each queue grows (above zero) or shrinks (below), in entries per second.",
            least=None,
        ),
        graph(
            "Departures",
            [
                (f"sum by (model, version) ({rate(DONE, CHOSEN)})", BY_VERSION),
                (f"sum({rate('millstream_persist_lag_seconds_count')})", "results"),
            ],
            "cps",
            "Entries that left each queue per second.",
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
            "Depth divided by departures: how long the last request in the queue will wait.",
        ),
    ]


def _wait() -> list[Json]:
    return [
        graph(
            "Waiting time, p95",
            [(quantile(0.95, "millstream_queue_wait_seconds", "model, version", CHOSEN), BY_VERSION)],
            "s",
            "From the acceptance of a request to the start of its computing.",
        ),
        graph(
            "Pending",
            [(f"{PENDING}{{{STREAMS}}}", "{{stream}}")],
            "short",
            "Entries delivered to a worker (or persister) and not finished.",
        ),
        graph(
            "Workers live",
            [(f"max by (model, version) (millstream_workers_live{{{CHOSEN}}})", BY_VERSION)],
            "short",
            "Live workers of each version. With none, its queue is not served.",
        ),
    ]


def _faults() -> list[Json]:
    return [
        graph(
            "Redeliveries",
            [(grown("millstream_redeliveries_total", "stream"), "{{stream}}")],
            "short",
            "Entries of a worker or persister that died or stalled, claimed by another after the visibility timeout.",
        ),
        graph(
            "Dead-lettered",
            [(grown("millstream_dead_letters_total", "stream, reason"), "{{stream}} {{reason}}")],
            "short",
            (
                "Entries moved to the dead letters. max_deliveries: delivered too often; aged_out: deleted after "
                "DEAD_LETTER_DAYS."
            ),
        ),
        graph(
            "Dead letters kept",
            [(f'{DEPTH}{{stream="dead"}}', "dead letters")],
            "short",
            "Kept until somebody replays or deletes them, or until DEAD_LETTER_DAYS have passed.",
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
            "All streams, whatever is selected above.",
        )
    ]


def queues() -> Json:
    """What is waiting, for how long, and whether it is getting better."""
    rows = [
        ("Now", 4, _now()),
        ("Depth and age", 9, _depth()),
        ("Interactive and batch", 8, _priorities()),
        ("Flow", 8, _flow()),
        ("Waiting and workers", 8, _wait()),
        ("Faults", 8, _faults()),
        ("All streams", 8, _streams()),
    ]
    return dashboard(
        "millstream-queues",
        "Millstream / Queues",
        "What is waiting, for how long, and whether it is getting better.",
        rows,
        [MODEL, VERSION],
    )
