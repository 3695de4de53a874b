"""Counting what came of an experiment, in Postgres.

What it costs is bounded: the first `MOST_ROWS` requests of an experiment are looked at (and as many copies as
`MOST_COPIES`), found by an index, within the time that a statement has. One gateway counts one experiment at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from gateway.control.experiments.statistics import Moments
from gateway.control.experiments.summary import Counted
from shared.postgres.pool import Postgres

MOST_ROWS = 200_000
MOST_COPIES = 50_000
MOST_LABELS = 20

# Of each metric, the sums of a subject that it is the ratio of (see `gateway.control.experiments.statistics`).
_RATIOS = {
    "failure_rate": ("failed", "requests"),
    "latency_ms": ("latency", "succeeded"),
    "confidence": ("confidence", "confident"),
    "accuracy": ("correct", "judged"),
}
_MOMENTS = ", ".join(
    f"ARRAY[count(*) FILTER (WHERE {m} > 0), sum({y}), sum({m}), sum({y} * {y}), sum({y} * {m}), sum({m} * {m})] "
    f"AS {metric}"
    for metric, (y, m) in _RATIOS.items()
)
_LATENCY = "(coalesce(queue_time_ms, 0) + coalesce(processing_time_ms, 0))::float8 AS latency"
_PERCENTILES = "percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency)"

# Queries marked `nosec` are built from constants only; values are always parameters.
_COUNT = f"""
WITH looked AS MATERIALIZED (
    SELECT id, arm, subject_id, status = 'succeeded' AS ok, confidence, {_LATENCY}, output_data->>'label' AS label
    FROM predictions WHERE experiment_id = $1 AND shadow_of IS NULL AND arm IS NOT NULL AND NOT cached
    ORDER BY id LIMIT $2
), judged AS (
    SELECT arm, subject_id, ok, confidence, latency, coalesce(correct, feedback.label = looked.label)::int AS correct
    FROM looked LEFT JOIN feedback ON feedback.prediction_id = looked.id
), subjects AS (
    SELECT arm, count(*)::float8 AS requests, (count(*) FILTER (WHERE NOT ok))::float8 AS failed,
        (count(*) FILTER (WHERE ok))::float8 AS succeeded, coalesce(sum(latency) FILTER (WHERE ok), 0) AS latency,
        (count(confidence) FILTER (WHERE ok))::float8 AS confident,
        coalesce(sum(confidence) FILTER (WHERE ok), 0) AS confidence,
        count(correct)::float8 AS judged, coalesce(sum(correct), 0)::float8 AS correct
    FROM judged GROUP BY arm, subject_id
), arms AS (
    SELECT arm, count(*) AS subjects, sum(requests)::bigint AS requests, sum(failed)::bigint AS failures,
        sum(judged)::bigint AS feedback, {_MOMENTS}
    FROM subjects GROUP BY arm
), latencies AS (
    SELECT arm, {_PERCENTILES} AS percentiles FROM looked WHERE ok GROUP BY arm
), frequencies AS (
    SELECT arm, left(label, 100) AS label, count(*) AS number,
        row_number() OVER (PARTITION BY arm ORDER BY count(*) DESC, left(label, 100)) AS place
    FROM looked WHERE ok AND label IS NOT NULL GROUP BY arm, left(label, 100)
), labels AS (
    SELECT arm, sum(number)::bigint AS labelled,
        jsonb_object_agg(label, number) FILTER (WHERE place <= {MOST_LABELS}) AS labels
    FROM frequencies GROUP BY arm
)
SELECT * FROM arms LEFT JOIN latencies USING (arm) LEFT JOIN labels USING (arm)"""  # nosec B608

_MEMORY = "SET LOCAL work_mem = '64MB'"  # for one sort, which would otherwise go to disk
_COUNT_COPIES = f"""
WITH copies AS MATERIALIZED (
    SELECT shadow_of, status = 'succeeded' AS ok, {_LATENCY}, output_data->>'label' AS label
    FROM predictions WHERE experiment_id = $1 AND shadow_of IS NOT NULL ORDER BY id LIMIT $2
)
SELECT count(*) AS copies, count(*) FILTER (WHERE NOT ok) AS failures,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY CASE WHEN ok THEN latency END) AS percentiles,
    count(*) FILTER (WHERE copies.label IS NOT NULL AND original.label IS NOT NULL) AS compared,
    count(*) FILTER (WHERE copies.label = original.label) AS agreed
FROM copies LEFT JOIN LATERAL (
    SELECT output_data->>'label' AS label FROM predictions WHERE id = copies.shadow_of LIMIT 1
) original ON true"""  # nosec B608


class Copies(NamedTuple):
    """What was counted of the copies for a shadow version.

    Attributes:
        latency_ms: of successes, the 50th, 95th and 99th percentile; empty without any.
        compared: copies of which both answers have a label; `agreed`: of these, those with the same.
    """

    copies: int
    failures: int
    latency_ms: tuple[float, ...]
    compared: int
    agreed: int


class Counts(NamedTuple):
    """What was counted.

    Attributes:
        rows: requests that were looked at.
        complete: whether these are all that have been stored.
        arms: by name.
        copies: None if there is no shadow.
    """

    rows: int
    complete: bool
    arms: Mapping[str, Counted]
    copies: Copies | None


class ResultCounter:
    """Counts through a pool of connections."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._one_at_a_time = asyncio.Lock()

    async def count(self, experiment_id: str, *, shadow: bool, most_rows: int = MOST_ROWS) -> Counts:
        """Count what has been stored of an experiment.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or takes too long.
        """
        async with self._one_at_a_time, self._postgres.connection() as connection:
            async with connection.transaction(readonly=True):
                await connection.execute(_MEMORY)
                rows = await connection.fetch(_COUNT, UUID(experiment_id), most_rows)
                copies = await connection.fetchrow(_COUNT_COPIES, UUID(experiment_id), MOST_COPIES) if shadow else None
        arms = {row["arm"]: _counted(row) for row in rows}
        looked = sum(arm.requests for arm in arms.values())
        return Counts(looked, looked < most_rows, arms, None if copies is None else _copies(copies))


def _counted(row: Mapping[str, Any]) -> Counted:
    metrics = {metric: Moments(int(row[metric][0]), *row[metric][1:]) for metric in _RATIOS}
    return Counted(
        row["subjects"],
        row["requests"],
        row["failures"],
        tuple(row["percentiles"] or ()),
        row["labelled"] or 0,
        orjson.loads(row["labels"] or "{}"),
        row["feedback"],
        metrics,
    )


def _copies(row: Mapping[str, Any]) -> Copies:
    percentiles = tuple(each for each in row["percentiles"] or () if each is not None)
    return Copies(row["copies"], row["failures"], percentiles, row["compared"], row["agreed"])
