"""The wire contract: the format of entries in the request, result and dead-letter streams. Pure.

Fields are flat and readable, so that `redis-cli XRANGE` shows what is going on; only `input`, `options` and `result`
hold JSON. Decoders ignore unknown fields, so adding a field never raises `schema`; an entry with a newer schema than
ours goes to the dead-letter stream. The examples in tests/contract/v1/*.json must decode forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from shared.contract.callbacks import MOST_CHARS as CALLBACK_MAX_CHARS
from shared.contract.errors import MalformedMessage
from shared.contract.ids import is_id
from shared.contract.inputs import NUL, normal, text_of
from shared.contract.queues import Priority
from shared.contract.tags import read_tags

SCHEMA = 1
ERROR_MAX_CHARS = 500
# The most that fields hold, as in the catalogue, the table `predictions` and Redis's scripts: nothing beyond is read.
MODEL_MAX_CHARS, VERSION_MAX_CHARS, PRINCIPAL_MAX_CHARS = 100, 20, 200
ARM_MAX_CHARS, SUBJECT_ID_MAX_CHARS = 40, 64
LARGEST_INT = 2**31 - 1  # of Postgres
_LATEST_TIME = 253_402_300_799_999  # ms: the last of the year 9999

Fields = Mapping[bytes, bytes]


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
    status = _FINAL_BY_NAME.get(_raw(fields, b"status"))
    if status is None:
        raise MalformedMessage("bad_status", f"field 'status' is {_text(fields, b'status')[:40]!r}")
    return Outcome(
        status,
        fields.get(b"result") or None,
        _number(fields, b"confidence"),
        _integer(fields, b"processing_time_ms", LARGEST_INT, b"0"),
        _integer(fields, b"queue_time_ms", LARGEST_INT, b"0"),
        readable(_text(fields, b"error")) if fields.get(b"error") else "",  # for speed: most have none
        _text(fields, b"worker", b""),
        fields.get(b"cached") == b"1",
        _integer(fields, b"tokens", LARGEST_INT, b"0") if fields.get(b"tokens") else 0,
        _integer(fields, b"compute_us", LARGEST_INT, b"0") if fields.get(b"compute_us") else 0,
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
        id=_id(fields),
        model=_name(fields, b"model", MODEL_MAX_CHARS),
        version=_name(fields, b"version", VERSION_MAX_CHARS),
        input=_passable(_input(fields), "input"),
        options=_passable(_json_object(fields, b"options", default=b"{}"), "options"),
        attempt=_integer(fields, b"attempt", LARGEST_INT, b"0"),
        principal=_optional_name(fields, b"principal", PRINCIPAL_MAX_CHARS),
        submitted_at=_integer(fields, b"submitted_at", _LATEST_TIME),
        deadline_at=_integer(fields, b"deadline_at", _LATEST_TIME),
        traceparent=_text(fields, b"traceparent", b""),
        priority=priority_of(fields),
    )


def decode_result(fields: Fields) -> PredictionResult:
    """Decode an entry of the result stream.

    Raises:
        MalformedMessage: a field is missing or wrong, or the schema is newer than ours.
    """
    _check_schema(fields)
    _json(fields, b"input")
    for name in (b"options", b"result"):
        _json_object(fields, name, default=b"{}")
    return PredictionResult(
        id=_id(fields),
        model=_name(fields, b"model", MODEL_MAX_CHARS),
        version=_name(fields, b"version", VERSION_MAX_CHARS),
        outcome=decode_outcome(fields),
        attempt=_integer(fields, b"attempt", LARGEST_INT, b"0"),
        input=_raw(fields, b"input"),
        options=fields.get(b"options") or b"{}",
        principal=_optional_name(fields, b"principal", PRINCIPAL_MAX_CHARS),
        completed_at=_integer(fields, b"completed_at", _LATEST_TIME),
        traceparent=_text(fields, b"traceparent", b""),
        experiment_id=_id(fields, b"experiment_id") if fields.get(b"experiment_id") else "",
        arm=_optional_name(fields, b"arm", ARM_MAX_CHARS),
        subject_id=_optional_name(fields, b"subject_id", SUBJECT_ID_MAX_CHARS),
        shadow_of=_id(fields, b"shadow_of") if fields.get(b"shadow_of") else "",
        shadow_for=_optional_name(fields, b"shadow_for", PRINCIPAL_MAX_CHARS),
        input_bytes=_integer(fields, b"input_bytes", LARGEST_INT, b"0"),
        priority=priority_of(fields),
        tags=tags_of(fields),
        callback_url=callback_of(fields),
    )


class Given(NamedTuple):
    """What a prediction was made of, as it is stored and shown: the texts of JSON values.

    Attributes:
        input: of a text an object, with the options if there were any.
        options: of everything else, if there were any; else None.
    """

    input: bytes
    options: bytes | None = None


def given_of(result: PredictionResult) -> Given:
    """What a finished prediction was made of."""
    if result.options == b"{}":
        return Given(result.input)
    value = orjson.loads(result.input)
    if value == {} or (isinstance(value, dict) and text_of(value) is not None):
        return Given(with_options(result.input, result.options))
    return Given(result.input, result.options)


def with_options(input_: bytes, options: bytes) -> bytes:
    """The text of a JSON object, with another as its field `options` unless that is empty.

    Joined as text: what can be parsed may be nested too deeply to be made into text again.
    """
    if options == b"{}":
        return input_
    fields = input_.strip()[:-1].rstrip()  # an object without its closing brace
    return fields + (b"" if fields == b"{" else b",") + b'"options":' + options + b"}"


def priority_of(fields: Fields) -> Priority:
    """The priority of a request or result; one that is not known is none to refuse it for."""
    return Priority.BATCH if fields.get(b"priority") == Priority.BATCH.value.encode() else Priority.INTERACTIVE


def tags_of(fields: Fields) -> bytes:
    """The tags of a request or result, as JSON; what are none is no reason to refuse it."""
    tags = fields.get(b"tags", b"")
    return tags if tags and read_tags(tags) else b""


def callback_of(fields: Fields) -> str:
    """Where to tell that a request has finished; what is no URL is no reason to refuse it."""
    url = fields.get(b"callback_url", b"")
    return url.decode() if len(url) <= CALLBACK_MAX_CHARS and url.isascii() and b"\0" not in url else ""


def readable(error: str) -> str:
    """An error text fit for a stream field and a hint: one line, no control characters, at most `ERROR_MAX_CHARS`."""
    if not error:
        return ""
    line = "".join(char if char.isprintable() else " " for char in error[: 4 * ERROR_MAX_CHARS])
    return " ".join(line.split())[:ERROR_MAX_CHARS]


def _raw(fields: Fields, name: bytes, default: bytes | None = None) -> bytes:
    value = fields.get(name, default)
    if value is None:
        raise MalformedMessage("missing_field", f"field {name.decode()!r} is missing")
    return value


def _text(fields: Fields, name: bytes, default: bytes | None = None) -> str:
    try:
        return _raw(fields, name, default).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not UTF-8") from error


def _name(fields: Fields, name: bytes, most_chars: int) -> str:
    text = _text(fields, name)
    if not 0 < len(text) <= most_chars or "\0" in text:
        raise MalformedMessage(
            "bad_field", f"field {name.decode()!r} is not of 1 to {most_chars} characters without NUL"
        )
    return text


def _optional_name(fields: Fields, name: bytes, most_chars: int) -> str:
    return _name(fields, name, most_chars) if fields.get(name) else ""


def _integer(fields: Fields, name: bytes, most: int, default: bytes | None = None) -> int:
    raw = _raw(fields, name, default)
    if not (raw.isdigit() and len(raw) <= 18 and (number := int(raw)) <= most):
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not a whole number from 0 to {most}")
    return number


def _number(fields: Fields, name: bytes) -> float | None:
    raw = fields.get(name)
    if not raw:
        return None
    try:
        value = float(raw)
    except ValueError as error:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not a number") from error
    if not 0 <= value <= 1:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not between 0 and 1")
    return value


def _input(fields: Fields) -> Any:
    value = _json(fields, b"input")
    if value is None or value == {} or NUL.search(fields[b"input"]):
        raise MalformedMessage("bad_input", "field 'input' has nothing to predict for, or a NUL")
    return normal(value)


def _passable(value: Any, name: str) -> Any:
    """A value that a child can be sent: what is nested as deeply as JSON may be read cannot be written again."""
    if isinstance(value, str) or not value:  # for speed: most inputs are texts, and most options empty
        return value
    try:
        orjson.dumps([[value]])
    except TypeError as error:
        raise MalformedMessage("bad_json", f"field {name!r} cannot be passed on: {error}") from error
    return value


def _json(fields: Fields, name: bytes, default: bytes | None = None) -> Any:
    raw = _raw(fields, name, default) or default or b""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedMessage("bad_json", f"field {name.decode()!r} is not JSON: {error}") from error


def _json_object(fields: Fields, name: bytes, default: bytes | None = None) -> dict[str, Any]:
    value = _json(fields, name, default)
    if not isinstance(value, dict):
        raise MalformedMessage("bad_json", f"field {name.decode()!r} is not a JSON object")
    return value


def _id(fields: Fields, name: bytes = b"id") -> str:
    text = _text(fields, name)
    if not is_id(text):
        raise MalformedMessage("bad_id", f"field {name.decode()!r} is not a UUID in its canonical form")
    return text


def _check_schema(fields: Fields) -> None:
    schema = _integer(fields, b"schema", LARGEST_INT)
    if not 1 <= schema <= SCHEMA:
        raise MalformedMessage("unknown_schema", f"schema {schema} is unknown: this version reads 1 to {SCHEMA}")
