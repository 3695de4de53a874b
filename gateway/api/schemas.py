"""Response bodies, as pydantic models for the OpenAPI document, and those of them that are built by hand."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, Field

from gateway.core.finished import Callback, Finished, due
from shared.contract.catalogue import InputLimits
from shared.contract.ids import id_time
from shared.contract.messages import Status
from shared.contract.queues import Priority
from shared.contract.version_states import State
from shared.streams.prediction_state import Queued
from shared.streams.waiting import Waiting


class Prediction(BaseModel):
    """A finished prediction."""

    prediction_id: UUID = Field(description="the id of the prediction")
    model: str = Field(description="the name of the model")
    version: str = Field(description="the name of the version")
    status: Status
    result: dict[str, Any] | None = Field(description="output of the model; null unless it succeeded")
    confidence: float | None = Field(description="0 to 1; null if the task has no score")
    processing_time_ms: int = Field(description="how long the batch with this prediction took to compute, in ms")
    created_at: datetime = Field(description="when it was accepted")
    error: str | None = Field(None, description="what went wrong; absent if it succeeded")
    priority: Literal["batch"] | None = Field(
        None, description="`batch` if it was queued so, when it is read; else absent"
    )
    tags: dict[str, str] | None = Field(None, description="if it has any, when it is read; else absent")
    cached: bool = Field(False, description="true if the result was computed before, for the same input; else absent")


class CallbackInfo(BaseModel):
    """Who is told that a prediction has finished, and how that stands."""

    url: str = Field(
        description="its `callback_url`, with `?…` in the place of a query, which may hold a secret",
        examples=["https://hooks.example.com/millstream?…"],
    )
    state: Literal["waiting", "delivered", "failed"] = Field(
        description="`waiting`: until it has finished, and while it is tried; `failed`: it was given up"
    )
    attempts: int | None = Field(None, description="how often it was tried, while it is `waiting`; else absent")
    last_error: str | None = Field(
        None, description="why it was not taken the last time; absent if it was, or not tried"
    )


class StoredPrediction(Prediction):
    """A finished prediction, when read by id."""

    input: Any = Field(
        None,
        description="what is kept of the input: of a text `text`, redacted perhaps, with the `options` if there were "
        "any; else the JSON as it was sent; or `text_hmac_sha256`, `input_hmac_sha256`: the HMAC-SHA-256 of the text, "
        "or of the JSON, in hexadecimal digits; absent if nothing is kept",
    )
    options: dict[str, Any] | None = Field(None, description="beside an input that is no text; absent without any")
    attempt: int = Field(description="0 the first; higher if it was a dead letter that was replayed")
    queue_time_ms: int = Field(description="from its acceptance until a worker read it, in ms")
    completed_at: datetime = Field(description="when it was finished")
    stored: bool = Field(description="whether it is in Postgres; false for a moment after it was finished")
    worker: str | None = Field(
        None, description="the worker that finished it; absent if none did, or if it is not known"
    )
    trace_id: str | None = Field(None, description="its trace; absent if there is none")
    callback: CallbackInfo | None = Field(None, description="absent if there is none")


def prediction_body(finished: Finished) -> dict[str, Any]:
    """A finished prediction in the form of the two models above; with `input` if it is known.

    Built by hand for speed: JSON that is kept as text is inserted without parsing it.
    """
    outcome = finished.outcome
    body: dict[str, Any] = {
        "prediction_id": finished.id,
        "model": finished.model,
        "version": finished.version,
        "status": outcome.status.value,
        "result": None if outcome.result is None else orjson.Fragment(outcome.result),
        "confidence": outcome.confidence,
        "processing_time_ms": outcome.processing_time_ms,
        "created_at": id_time(finished.id),
    }
    if outcome.cached:
        body["cached"] = True
    if finished.priority is not Priority.INTERACTIVE:
        body["priority"] = finished.priority.value
    if finished.tags:
        body["tags"] = orjson.Fragment(finished.tags)
    if outcome.error:
        body["error"] = outcome.error
    if finished.given is not None and finished.given.input != b"{}":
        body["input"] = orjson.Fragment(finished.given.input)
        if finished.given.options is not None:
            body["options"] = orjson.Fragment(finished.given.options)
    return body


def stored_body(finished: Finished) -> dict[str, Any]:
    """A finished prediction that is read by id, in the form of `StoredPrediction`."""
    body, course = prediction_body(finished), finished.course
    if course is None:
        return body
    body |= {
        "attempt": course.attempt,
        "queue_time_ms": finished.outcome.queue_time_ms,
        "completed_at": course.completed_at,
        "stored": course.stored,
    }
    if finished.outcome.worker:
        body["worker"] = finished.outcome.worker
    if course.trace_id:
        body["trace_id"] = course.trace_id
    if finished.callback is not None:
        body["callback"] = callback_body(finished.callback)
    return body


def callback_body(callback: Callback) -> dict[str, Any]:
    """A callback, in the form of the model above."""
    body: dict[str, Any] = {"url": callback.url, "state": callback.state}
    if callback.attempts is not None:
        body["attempts"] = callback.attempts
    return {**body, "last_error": callback.error} if callback.error else body


class QueuedPrediction(BaseModel):
    """A prediction that was accepted and is not finished."""

    prediction_id: UUID = Field(description="the id of the prediction")
    status: Literal[Status.QUEUED] = Field(Status.QUEUED, description="that it is not finished")
    note: str | None = Field(None, description="why it will not finish soon: nobody serves its version; else absent")


class QueueInfo(BaseModel):
    """The queue that a prediction is in."""

    depth: int = Field(description="predictions in it, waiting and running")
    drains_per_s: float | None = Field(description="how many leave it each second, as measured; null if not known")
    eta_s: float | None = Field(
        description="seconds until all that is in it now will have left at that rate; null if it stands still, or that "
        "is not known"
    )


class UnfinishedPrediction(BaseModel):
    """A prediction that is not finished, when read by id."""

    prediction_id: UUID = Field(description="the id of the prediction")
    status: Literal[Status.QUEUED, Status.RUNNING] = Field(description="`running` once a worker has read it")
    model: str = Field("", description="the name of the model")
    version: str = Field("", description="the name of the version")
    queued_for_s: float = Field(0.0, description="seconds since it was queued")
    queue: QueueInfo | None = Field(None, description="absent in a list")
    priority: Literal["batch"] | None = Field(None, description="in a list: `batch` if it is queued so; else absent")
    tags: dict[str, str] | None = Field(None, description="in a list: if it has any; else absent")
    callback: CallbackInfo | None = Field(None, description="absent in a list, or if there is none")
    note: str | None = Field(None, description="why it will not finish soon: nobody serves its version; else absent")


def waiting_body(found: Waiting, *, running: bool) -> dict[str, Any]:
    """One of a list, in the form of the model above."""
    body: dict[str, Any] = {
        "prediction_id": found.id,
        "status": (Status.RUNNING if running else Status.QUEUED).value,
        "model": found.queue.model,
        "version": found.queue.version,
        "queued_for_s": found.waited_ms / 1000,
    }
    if found.queue.priority is not Priority.INTERACTIVE:
        body["priority"] = found.queue.priority.value
    return {**body, "tags": orjson.Fragment(found.tags)} if found.tags else body


def unfinished_body(prediction_id: str, found: Queued, drains_per_s: float | None, note: str) -> dict[str, Any]:
    """A prediction that is not finished, in the form of the model above; its place may be unknown."""
    place = found.place
    if place is None:
        return queued_body(prediction_id, note)
    callback = due(found.callback_url)
    return {
        "prediction_id": prediction_id,
        "status": (Status.RUNNING if place.running else Status.QUEUED).value,
        "model": place.queue.model,
        "version": place.queue.version,
        "queued_for_s": place.waited_ms / 1000,
        "queue": queue_body(place.depth, drains_per_s),
        **({"callback": callback_body(callback)} if callback else {}),
        **({"note": note} if note else {}),
    }


def queue_body(depth: int, drains_per_s: float | None) -> dict[str, Any]:
    """A queue, in the form of `QueueInfo`."""
    return {
        "depth": depth,
        "drains_per_s": None if drains_per_s is None else round(drains_per_s, 3),
        "eta_s": round(depth / drains_per_s, 1) if drains_per_s else None,
    }


def queued_body(prediction_id: str, note: str = "") -> dict[str, Any]:
    """A prediction that is not finished, in the form of the model above."""
    body = {"prediction_id": prediction_id, "status": Status.QUEUED.value}
    return {**body, "note": note} if note else body


class PredictionBatch(BaseModel):
    """The predictions of a batch request, in the order of its texts."""

    items: list[Prediction | QueuedPrediction] = Field(description="in the order of the inputs")


class PredictionPage(BaseModel):
    """One page of the history."""

    items: list[Prediction | UnfinishedPrediction] = Field(description="the predictions, newest first")
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null on the last page. A page of what is not finished may be empty and "
        "not the last: others' predictions stood in its place"
    )


class Erasure(BaseModel):
    """An erasure, and how far it is."""

    erasure_id: UUID = Field(description="the id of the erasure")
    state: Literal["running", "done"] = Field(description="how far it is")
    principal: str | None = Field(description="only what this principal has asked for; null: whoever has")
    subject_id: str | None = Field(description="only what was asked for on behalf of this subject, as it is stored")
    before: datetime | None = Field(description="only what was accepted before; null: what was by `requested_at`")
    requested_by: str = Field(description="the principal of who asked for it; empty without authentication")
    requested_at: datetime = Field(description="when it was asked for")
    finished_at: datetime | None = Field(description="when nothing was left; null until then")
    predictions: int = Field(description="deleted from Postgres so far")
    requests: int = Field(description="ended as `cancelled` so far: they were waiting or running")
    dead_letters: int = Field(description="deleted so far")
    waiting: int = Field(description="results that have to be stored before they can be deleted, at the last look")
    note: str = Field(description="what else there is to know: empty if all went as it should")


class DayOfUsage(BaseModel):
    """What was used of one model version on one day."""

    day: date = Field(description="in UTC")
    model: str = Field(description="the name of the model")
    version: str = Field(description="the name of the version")
    requests: int = Field(description="how many predictions have ended")
    failed: int = Field(description="of them, those that did not succeed")
    tokens: int = Field(description="that models have computed")
    compute_s: float = Field(description="seconds that the model computed for them, their share of each batch")
    input_bytes: int = Field(description="of inputs and options")


class Usage(BaseModel):
    """What was used, the newest day first."""

    items: list[DayOfUsage] = Field(description="by day, model and version")


class DeadLetterInfo(BaseModel):
    """A dead letter: a request, a result or a callback that was given up."""

    dead_letter_id: str = Field(description="the id of the dead letter")
    source: str = Field(description="the stream it came from; `webhooks` if it is of a callback")
    reason: str = Field(description="a short code", examples=["max_deliveries"])
    error: str = Field(description="what was wrong, in a sentence")
    deliveries: int = Field(description="how often it was given to a worker, or a callback was tried")
    dead_at: datetime = Field(description="when it was given up")
    prediction_id: UUID | None = Field(description="the id of the prediction; null if it cannot be read")
    model: str | None = Field(description="the name of the model; null if it cannot be read")
    version: str | None = Field(description="the name of the version; null if it cannot be read")
    attempt: int | None = Field(description="how often it was replayed before")
    replayable: bool = Field(
        description="whether it can be replayed: its request is readable, its version served, and it was "
        "not replayed too often"
    )


class DeadLetterPage(BaseModel):
    """One page of dead letters."""

    items: list[DeadLetterInfo] = Field(description="the dead letters, newest first")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page")


class Replayed(BaseModel):
    """A replayed prediction."""

    prediction_id: UUID = Field(description="the id of the prediction that is tried again")
    status: Status = Status.QUEUED
    attempt: int = Field(description="number of this attempt; the first was 0")


class WorkerState(BaseModel):
    """How far a worker is with a version."""

    worker: str = Field(description="the id of the worker")
    state: State
    reason: str | None = Field(description="why it does not serve it; it tries again by itself")


class VersionSchemas(BaseModel):
    """What a version takes and gives; each is absent if it is not known."""

    input: dict[str, Any] | None = Field(None, description="JSON Schema of `input`; a string: it takes a `text`")
    options: dict[str, Any] | None = Field(None, description="JSON Schema of `options`")
    output: dict[str, Any] | None = Field(None, description="JSON Schema of `result`")
    example: Any = Field(None, description="an input")
    example_options: dict[str, Any] | None = Field(None, description="`options` that are sent with it")


class ModelVersionInfo(BaseModel):
    """One version of a model."""

    version: str = Field(description="the name of the version")
    is_default: bool = Field(description="whether requests without `version` use it")
    is_active: bool = Field(description="whether requests may use it; of one that is not, what waits is computed")
    digest: str | None = Field(None, description="of the artifact of a version that was registered by API; else null")
    limits: InputLimits
    workers: int = Field(description="live workers that serve it; if 0, requests wait until there is one")
    load_error: str | None = Field(description="why a worker cannot load it; it tries again by itself", default=None)
    schemas: VersionSchemas | None = Field(
        None, description="what it takes and gives; one model only, of a class of your own while a worker serves it"
    )
    drift: dict[Literal["label", "confidence"], float] | None = Field(
        None,
        description="how far its newest answers have moved from its first ones (population stability index), as the "
        "persister measured it last; one model only, for administrators",
        examples=[{"label": 0.03, "confidence": 0.21}],
    )
    states: list[WorkerState] | None = Field(
        None, description="how far each live worker is that is to serve it; one model only, for administrators"
    )


class ModelInfo(BaseModel):
    """A model."""

    name: str = Field(description="the name of the model")
    task: str = Field(description="what it does: a built-in task, or a class")
    description: str = Field(description="what it is for, in a sentence")
    group: str | None = Field(None, description="what workers may select it by")
    versions: list[ModelVersionInfo] = Field(description="all versions, the active ones and others")


class ModelList(BaseModel):
    """All models."""

    items: list[ModelInfo] = Field(description="the models that one may use")


class Health(BaseModel):
    """Health of the service and its dependencies. All but the first three fields are for administrators."""

    status: str = Field(
        description="ok; degraded: it accepts requests, but something is wrong; unavailable", examples=["ok"]
    )
    redis: str = Field(description="ok or unavailable")
    postgres: str = Field(description="ok or unavailable")
    reasons: dict[str, str] = Field({}, description="why a store is unavailable, by `redis` and `postgres`")
    warnings: list[str] = Field(
        [], description="what is wrong with the settings of Redis; requests are accepted all the same"
    )
    unserved: list[str] = Field(
        [], description="active model versions that no live worker serves, or would load if a request came"
    )
    waiting_for_memory: dict[str, str] = Field(
        {}, description="why workers have no memory for a version that requests wait for, by `model:version`"
    )
    load_errors: dict[str, str] = Field({}, description="why a worker cannot load a version, by `model:version`")
    orphans: list[str] = Field(
        [], description="versions that requests wait for but that are not in the catalogue: they end at their deadline"
    )


class Probe(BaseModel):
    """The response to a probe."""

    status: str = Field(description="`ok`, or in a word what is wrong")
    reason: str | None = Field(None, description="why it is not `ok`; else absent")
