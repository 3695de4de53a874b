"""From result messages to rows of `predictions`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from shared.contract.ids import id_time
from shared.contract.messages import PredictionResult, input_of


class Row(NamedTuple):
    """One row of `predictions`, its model version still by name; JSON as text. `traceparent` is not stored."""

    id: str
    model: str
    version: str
    input_data: str
    output_data: str | None
    confidence: float | None
    processing_time_ms: int
    created_at: datetime
    status: str
    error: str | None
    attempt: int
    principal: str
    queue_time_ms: int
    cached: bool
    completed_at: datetime
    traceparent: str = ""


def row_of(result: PredictionResult) -> Row:
    """The row that keeps this result."""
    outcome = result.outcome
    return Row(
        id=result.id,
        model=result.model,
        version=result.version,
        input_data=input_of(result).decode(),
        output_data=None if outcome.result is None else outcome.result.decode(),
        confidence=outcome.confidence,
        processing_time_ms=outcome.processing_time_ms,
        created_at=id_time(result.id),
        status=outcome.status.value,
        error=outcome.error or None,
        attempt=result.attempt,
        principal=result.principal,
        queue_time_ms=outcome.queue_time_ms,
        cached=outcome.cached,
        completed_at=datetime.fromtimestamp(result.completed_at / 1000, UTC),
        traceparent=result.traceparent,
    )


def rejected(row: Row, reason: str) -> Row:
    """The row that stands for one that Postgres rejects: failed, without the data that it would not take."""
    return row._replace(
        input_data="{}",
        output_data=None,
        confidence=None,
        processing_time_ms=0,
        queue_time_ms=0,
        status="failed",
        error=f"the result could not be stored: {reason}"[:500],
        principal="",
    )
