"""From result messages to rows of `predictions`. Pure.

A stored field is declared once, in `Row`: by the name of its column, its type here and its type in Postgres. The
statements of `persister.database` are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, NamedTuple, get_type_hints

import orjson

from shared.contract.callbacks import shown
from shared.contract.fields import LARGEST_INT, Fields, callback_of, priority_of, tags_of
from shared.contract.given import given_of
from shared.contract.ids import id_time, is_id, is_principal
from shared.contract.messages import Outcome, PredictionResult, Status, readable
from shared.contract.queues import Priority
from shared.telemetry.traceparent import trace_id_of

UNREADABLE = "unreadable"  # in the place of a model or version that cannot be read, or not be stored


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
    tokens: Annotated[int, "int"]
    compute_us: Annotated[int, "int"]
    input_bytes: Annotated[int, "int"]
    completed_at: Annotated[datetime, "timestamptz"]
    experiment_id: Annotated[str | None, "uuid"] = None
    arm: Annotated[str | None, "text"] = None
    subject_id: Annotated[str | None, "text"] = None
    shadow_of: Annotated[str | None, "uuid"] = None
    shadow_for: Annotated[str | None, "text"] = None
    priority: Annotated[str, "text"] = Priority.INTERACTIVE.value
    options: Annotated[str | None, "jsonb"] = None  # of an input that is no text; those of a text are in `input_data`
    tags: Annotated[str | None, "jsonb"] = None
    worker: Annotated[str | None, "text"] = None
    trace_id: Annotated[str | None, "uuid"] = None
    callback: Annotated[str | None, "text"] = None  # what is shown of the next
    callback_error: Annotated[str | None, "text"] = None  # added once it is given up
    callback_url: str = ""  # kept in `webhooks`, until it has been told
    traceparent: str = ""  # for spans and exemplars; of what is stored the trace id


COLUMNS: Mapping[str, str] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Row, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}


def row_of(result: PredictionResult) -> Row:
    """The row that keeps this result."""
    outcome, made_of = result.outcome, given_of(result)
    completed_at = datetime.fromtimestamp(result.completed_at / 1000, UTC)
    return Row(
        id=result.id,
        model=result.model,
        version=result.version,
        input_data=made_of.input.decode(),
        output_data=None if outcome.result is None else outcome.result.decode(),
        confidence=outcome.confidence,
        processing_time_ms=outcome.processing_time_ms,
        created_at=_created_at(result.id) or completed_at,
        status=outcome.status,
        error=outcome.error or None,
        attempt=result.attempt,
        principal=result.principal,
        queue_time_ms=outcome.queue_time_ms,
        cached=outcome.cached,
        tokens=outcome.tokens,
        compute_us=outcome.compute_us,
        input_bytes=result.input_bytes or len(result.input) + len(result.options),
        completed_at=completed_at,
        experiment_id=result.experiment_id or None,
        arm=result.arm or None,
        subject_id=result.subject_id or None,
        shadow_of=result.shadow_of or None,
        shadow_for=result.shadow_for or None,
        priority=result.priority,
        options=None if made_of.options is None else made_of.options.decode(),
        tags=result.tags.decode() or None,
        worker=outcome.worker or None,
        trace_id=trace_id_of(result.traceparent) or None,
        callback=shown(result.callback_url) if result.callback_url else None,
        callback_url=result.callback_url,
        traceparent=result.traceparent,
    )


def unreadable(prediction_id: str, entry: str, fields: Fields, error: str) -> Row:
    """The row of a result that cannot be read: failed, with this error, and with what can be read all the same.

    Args:
        entry: the id of its entry, which begins with the time at which it was added.
    """
    result = PredictionResult(
        id=prediction_id,
        model=_text(fields, b"model", UNREADABLE),
        version=_text(fields, b"version", UNREADABLE),
        outcome=Outcome(Status.FAILED, error=readable(f"the result could not be read: {error}")),
        attempt=_number(fields.get(b"attempt", b"")),
        input=_json(fields, b"input"),
        options=_json(fields, b"options", dict),
        principal=_text(fields, b"principal", ""),
        completed_at=_number(fields.get(b"completed_at", b"")),
        traceparent=_text(fields, b"traceparent", ""),
        experiment_id=_id(fields, b"experiment_id"),
        arm=_text(fields, b"arm", ""),
        subject_id=_text(fields, b"subject_id", ""),
        shadow_of=_id(fields, b"shadow_of"),
        shadow_for=_text(fields, b"shadow_for", ""),
        priority=priority_of(fields),
        tags=tags_of(fields),
        callback_url=callback_of(fields),
    )
    if result.attempt > LARGEST_INT:
        result = result._replace(attempt=0)
    if not result.completed_at or _time(result.completed_at) is None:
        added_at = _number(entry.partition("-")[0].encode())
        result = result._replace(completed_at=added_at if _time(added_at) else 0)
    return row_of(result)


def stand_ins(row: Row, reason: str) -> Iterator[Row]:
    """What to store instead of a row that Postgres rejects, the one that keeps most first."""
    without_data = rejected(row, reason)
    yield without_data
    yield without_data._replace(model=UNREADABLE, version=UNREADABLE)


def rejected(row: Row, reason: str) -> Row:
    """The row that stands for one that Postgres rejects: failed, without the data that it would not take."""
    return row._replace(
        input_data="{}",
        options=None,
        output_data=None,
        confidence=None,
        processing_time_ms=0,
        queue_time_ms=0,
        tokens=0,
        compute_us=0,
        status="failed",
        error=f"the result could not be stored: {reason}"[:500],
        principal=row.principal if is_principal(row.principal) else "",
        arm=None,
        subject_id=None,
        tags=None,
        worker=None,
        shadow_for=row.shadow_for if is_principal(row.shadow_for or "") else None,
    )


def _time(ms: int) -> datetime | None:
    """A time from ms since the epoch; None if it is beyond the calendar."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _created_at(prediction_id: str) -> datetime | None:
    try:
        return id_time(prediction_id)
    except (ValueError, OverflowError, OSError):  # not an id that a gateway has made
        return None


def _text(fields: Fields, name: bytes, default: str) -> str:
    try:
        return fields.get(name, b"").decode() or default
    except UnicodeDecodeError:
        return default


def _id(fields: Fields, name: bytes) -> str:
    text = _text(fields, name, "")
    return text if is_id(text) else ""


def _number(raw: bytes) -> int:
    return int(raw) if raw.isdigit() and len(raw) <= 18 else 0


def _json(fields: Fields, name: bytes, kind: type = object) -> bytes:
    """A field that holds JSON of some kind; an empty object in the place of anything else."""
    raw = fields.get(name, b"")
    try:
        return raw if isinstance(orjson.loads(raw), kind) else b"{}"
    except orjson.JSONDecodeError:
        return b"{}"
