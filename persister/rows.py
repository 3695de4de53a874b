"""From result messages to rows of `predictions`. Pure.

A stored field is declared once, in `Row`: by the name of its column, its type here and its type in Postgres. The
statements of `persister.database` are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, NamedTuple, get_type_hints

from shared.contract.ids import id_time
from shared.contract.messages import PredictionResult, input_of


class Row(NamedTuple):
    """One row of `predictions`, its JSON as text. A field is a column if it is annotated with a type of Postgres."""

    id: Annotated[str, "uuid"]
    model: str  # with `version`: stored as the id of the model version
    version: str
    input_data: Annotated[str, "jsonb"]
    output_data: Annotated[str | None, "jsonb"]
    confidence: Annotated[float | None, "float8"]
    processing_time_ms: Annotated[int, "int"]
    created_at: Annotated[datetime, "timestamptz"]
    status: Annotated[str, "text"]
    error: Annotated[str | None, "text"]
    attempt: Annotated[int, "int"]
    principal: Annotated[str, "text"]
    queue_time_ms: Annotated[int, "int"]
    cached: Annotated[bool, "bool"]
    completed_at: Annotated[datetime, "timestamptz"]
    traceparent: str = ""  # for spans and exemplars; not stored


COLUMNS: Mapping[str, str] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Row, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}


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
