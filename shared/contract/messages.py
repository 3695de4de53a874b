"""The wire contract: the format of entries in the request, result and dead-letter streams. Pure.

Fields are flat and readable, so that `redis-cli XRANGE` shows what is going on; only `input`, `options` and `result`
hold JSON. Decoders ignore unknown fields, so adding a field never raises `schema`; an entry with a newer schema than
ours goes to the dead-letter stream. The examples in tests/contract/v1/*.json must decode forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.fields import (
    LARGEST_INT,
    Fields,
    callback_of,
    id_field,
    input_field,
    integer_field,
    json_field,
    name_field,
    number_field,
    object_field,
    optional_name_field,
    passable,
    priority_of,
    raw_field,
    tags_of,
    text_field,
)
from shared.contract.queues import Priority

SCHEMA = 1
ERROR_MAX_CHARS = 500
# The most that fields hold, as in the catalogue, the table `predictions` and Redis's scripts: nothing beyond is read.
MODEL_MAX_CHARS, VERSION_MAX_CHARS, PRINCIPAL_MAX_CHARS = 100, 20, 200
ARM_MAX_CHARS, SUBJECT_ID_MAX_CHARS = 40, 64
_LATEST_TIME = 253_402_300_799_999  # ms: the last of the year 9999


class Status(StrEnum):
    """The status of a prediction; in messages `queued` covers what is running."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FINAL_STATUSES = frozenset(Status) - {Status.QUEUED, Status.RUNNING}
_FINAL_BY_NAME = {status.value.encode(): status for status in FINAL_STATUSES}  # quicker than decoding and `Status()`

# The fields of a request entry, except `submitted_at` and `deadline_at`, which scripts set from Redis's clock.
# The last five are of experiments only: which one, its arm, whom the request was made for, and of a copy its original
# and who asked for that.
# `priority` is there if it is not `interactive`, `tags` (JSON) and `callback_url` if there are any.
# `stored_input` is there if the input is not to be kept as it is: once the request has ended, it stands in its place.
EXPERIMENT_FIELDS = ("experiment_id", "arm", "subject_id", "shadow_of", "shadow_for")
REQUEST_FIELDS = (
    *("schema", "id", "attempt", "model", "version", "input", "options", "principal", "traceparent", "cost"),
    *("stored_input", "priority", "tags", "callback_url", *EXPERIMENT_FIELDS),
)


class PredictionRequest(NamedTuple):
    """A request as a worker reads it. Times are ms since the epoch, on Redis's clock.

    Attributes:
        input: a text, or any other JSON value: see `shared.contract.inputs`.
    """

    id: str
    model: str
    version: str
    input: Any
    options: Mapping[str, Any]
    attempt: int = 0
    principal: str = ""
    submitted_at: int = 0
    deadline_at: int = 0
    traceparent: str = ""
    priority: Priority = Priority.INTERACTIVE


class Outcome(NamedTuple):
    """What is added to a request to finish it. Durations are in ms; `result` is the text of a JSON object.

    `processing_time_ms` is how long its batch took, `compute_us` (in us) its own share of that by `tokens`.

    JSON that is only passed on stays text, which saves gateways from parsing it. A new field is declared here, and
    encoded and decoded by the two functions below; scripts and hints carry it by name.
    """

    status: Status
    result: bytes | None = None
    confidence: float | None = None
    processing_time_ms: int = 0
    queue_time_ms: int = 0
    error: str = ""
    worker: str = ""
    cached: bool = False
    tokens: int = 0
    compute_us: int = 0


OUTCOME_FIELDS = Outcome._fields


def encode_outcome(outcome: Outcome) -> tuple[str | bytes, ...]:
    """The values of `OUTCOME_FIELDS`, in that order; absent ones are empty."""
    return (
        outcome.status.value,
        outcome.result or b"",
        "" if outcome.confidence is None else repr(float(outcome.confidence)),
        str(outcome.processing_time_ms),
        str(outcome.queue_time_ms),
        readable(outcome.error),
        outcome.worker,
        "1" if outcome.cached else "0",
        str(outcome.tokens) if outcome.tokens else "",
        str(min(outcome.compute_us, LARGEST_INT)) if outcome.compute_us else "",
    )


def decode_outcome(fields: Fields) -> Outcome:
    """Decode the outcome from a result entry or a hint.

    Raises:
        MalformedMessage: a field is missing or wrong.
    """
    status = _FINAL_BY_NAME.get(raw_field(fields, b"status"))
    if status is None:
        raise MalformedMessage("bad_status", f"field 'status' is {text_field(fields, b'status')[:40]!r}")
    return Outcome(
        status,
        fields.get(b"result") or None,
        number_field(fields, b"confidence"),
        integer_field(fields, b"processing_time_ms", LARGEST_INT, b"0"),
        integer_field(fields, b"queue_time_ms", LARGEST_INT, b"0"),
        readable(text_field(fields, b"error")) if fields.get(b"error") else "",  # for speed: most have none
        text_field(fields, b"worker", b""),
        fields.get(b"cached") == b"1",
        integer_field(fields, b"tokens", LARGEST_INT, b"0") if fields.get(b"tokens") else 0,
        integer_field(fields, b"compute_us", LARGEST_INT, b"0") if fields.get(b"compute_us") else 0,
    )


class PredictionResult(NamedTuple):
    """A finished prediction as gateway and persister read it; `input` is JSON, `options` the text of a JSON object.

    Attributes:
        experiment_id, arm: of which it was part, if any.
        subject_id: whom it was made for, as an opaque id; '' if it is not known.
        shadow_of, shadow_for: of a copy for a shadow version the id and the principal of its original; else ''.
        input_bytes: of the input and options that the request had, if something else is kept; otherwise 0.
        tags: the text of a JSON object, see `shared.contract.tags`; empty without any.
        callback_url: where to tell that it has finished; '' for nowhere.
    """

    id: str
    model: str
    version: str
    outcome: Outcome
    attempt: int = 0
    input: bytes = b"{}"
    options: bytes = b"{}"
    principal: str = ""
    completed_at: int = 0
    traceparent: str = ""
    experiment_id: str = ""
    arm: str = ""
    subject_id: str = ""
    shadow_of: str = ""
    shadow_for: str = ""
    input_bytes: int = 0
    priority: Priority = Priority.INTERACTIVE
    tags: bytes = b""
    callback_url: str = ""


def decode_request(fields: Fields) -> PredictionRequest:
    """Decode an entry of a request stream.

    Raises:
        MalformedMessage: a field is missing or wrong, or the schema is newer than ours.
    """
    _check_schema(fields)
    return PredictionRequest(
        id=id_field(fields),
        model=name_field(fields, b"model", MODEL_MAX_CHARS),
        version=name_field(fields, b"version", VERSION_MAX_CHARS),
        input=passable(input_field(fields), "input"),
        options=passable(object_field(fields, b"options", default=b"{}"), "options"),
        attempt=integer_field(fields, b"attempt", LARGEST_INT, b"0"),
        principal=optional_name_field(fields, b"principal", PRINCIPAL_MAX_CHARS),
        submitted_at=integer_field(fields, b"submitted_at", _LATEST_TIME),
        deadline_at=integer_field(fields, b"deadline_at", _LATEST_TIME),
        traceparent=text_field(fields, b"traceparent", b""),
        priority=priority_of(fields),
    )


def decode_result(fields: Fields) -> PredictionResult:
    """Decode an entry of the result stream.

    Raises:
        MalformedMessage: a field is missing or wrong, or the schema is newer than ours.
    """
    _check_schema(fields)
    json_field(fields, b"input")
    for name in (b"options", b"result"):
        if fields.get(name, b"{}") != b"{}":  # for speed: most have no options
            object_field(fields, name, default=b"{}")
    return PredictionResult(
        id=id_field(fields),
        model=name_field(fields, b"model", MODEL_MAX_CHARS),
        version=name_field(fields, b"version", VERSION_MAX_CHARS),
        outcome=decode_outcome(fields),
        attempt=integer_field(fields, b"attempt", LARGEST_INT, b"0"),
        input=raw_field(fields, b"input"),
        options=fields.get(b"options") or b"{}",
        principal=optional_name_field(fields, b"principal", PRINCIPAL_MAX_CHARS),
        completed_at=integer_field(fields, b"completed_at", _LATEST_TIME),
        traceparent=text_field(fields, b"traceparent", b""),
        experiment_id=id_field(fields, b"experiment_id") if fields.get(b"experiment_id") else "",
        arm=optional_name_field(fields, b"arm", ARM_MAX_CHARS),
        subject_id=optional_name_field(fields, b"subject_id", SUBJECT_ID_MAX_CHARS),
        shadow_of=id_field(fields, b"shadow_of") if fields.get(b"shadow_of") else "",
        shadow_for=optional_name_field(fields, b"shadow_for", PRINCIPAL_MAX_CHARS),
        input_bytes=integer_field(fields, b"input_bytes", LARGEST_INT, b"0") if b"input_bytes" in fields else 0,
        priority=priority_of(fields),
        tags=tags_of(fields),
        callback_url=callback_of(fields),
    )


def readable(error: str) -> str:
    """An error text fit for a stream field and a hint: one line, no control characters, at most `ERROR_MAX_CHARS`."""
    if not error:
        return ""
    line = "".join(char if char.isprintable() else " " for char in error[: 4 * ERROR_MAX_CHARS])
    return " ".join(line.split())[:ERROR_MAX_CHARS]


def _check_schema(fields: Fields) -> None:
    if fields.get(b"schema") == b"1":  # for speed
        return
    schema = integer_field(fields, b"schema", LARGEST_INT)
    if not 1 <= schema <= SCHEMA:
        raise MalformedMessage("unknown_schema", f"schema {schema} is unknown: this version reads 1 to {SCHEMA}")
