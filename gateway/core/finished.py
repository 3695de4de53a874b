"""A finished prediction, whether it was found in a hint, in Redis or in Postgres. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

import orjson

from shared.contract.callbacks import shown
from shared.contract.given import Given, given_of
from shared.contract.hints import Hint
from shared.contract.messages import Outcome, PredictionResult
from shared.contract.queues import Priority
from shared.telemetry.traceparent import trace_id_of


class Course(NamedTuple):
    """What else is known of the way that a prediction took.

    Attributes:
        attempt: 0 the first; higher if it was a dead letter that was tried again.
        completed_at: when it ended; its time in the queue and its worker are in the outcome.
        stored: whether it is in Postgres.
        trace_id: 32 hexadecimal digits; empty if there was no trace.
    """

    attempt: int
    completed_at: datetime
    stored: bool
    trace_id: str = ""


class Callback(NamedTuple):
    """Where the end of a prediction is told, and how that stands.

    Attributes:
        url: what is shown of it, see `shared.contract.callbacks`.
        state: `waiting`, also while it is tried; `delivered`; or `failed`, for good.
        attempts: so far; None once it waits no more.
        error: why the last attempt failed; empty if there was none, or it was delivered.
    """

    url: str
    state: Literal["waiting", "delivered", "failed"] = "waiting"
    attempts: int | None = 0
    error: str = ""


def due(callback_url: str) -> Callback | None:
    """The callback to a URL before it is tried; None if there is none."""
    return Callback(shown(callback_url)) if callback_url else None


class Finished(NamedTuple):
    """A finished prediction.

    Attributes:
        given: its input and options; None if they are not known here.
        principal: the id of who asked for it; empty also if it comes from a hint, which does not say.
        priority: with which it was queued; interactive also if it comes from a hint.
        tags: the text of a JSON object; empty without any, and if it comes from a hint.
        course: None if it comes from a hint.
        callback: None if there is none, if it comes from a hint, or in a list.
    """

    id: str
    model: str
    version: str
    outcome: Outcome
    given: Given | None = None
    principal: str = ""
    priority: Priority = Priority.INTERACTIVE
    tags: bytes = b""
    course: Course | None = None
    callback: Callback | None = None


def from_hint(hint: Hint) -> Finished | None:
    """From a hint; None if the hint has no outcome."""
    return None if hint.outcome is None else Finished(hint.id, hint.model, hint.version, hint.outcome)


def from_result(result: PredictionResult) -> Finished:
    """From an entry of the result stream."""
    completed_at = datetime.fromtimestamp(result.completed_at / 1000, UTC)
    course = Course(result.attempt, completed_at, stored=False, trace_id=trace_id_of(result.traceparent))
    about = given_of(result), result.principal, result.priority, result.tags, course, due(result.callback_url)
    return Finished(result.id, result.model, result.version, result.outcome, *about)


def best_first(result: bytes) -> bytes:
    """A result whose `scores` are from best to worst, as the model gave them: `jsonb` orders keys by their length."""
    if b'"scores"' not in result:
        return result
    try:
        output = orjson.loads(result)
        ranked = sorted(output["scores"].items(), key=lambda pair: -pair[1])
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):  # a custom model's own kind of scores
        return result
    return orjson.dumps({**output, "scores": dict(ranked)})
