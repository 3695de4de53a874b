"""The API in one table: every operation, what it takes, what it answers. Routes and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from gateway.api import dead_letters, health, models, predict, predictions, schemas
from gateway.http import idempotency
from gateway.http.middleware import Handler
from gateway.settings import MAX_TIMEOUT_S, MAX_WAIT_S
from shared.contract.messages import FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation, with its JSON schema."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]

    @property
    def required(self) -> bool:
        """Whether it must be given: path parameters must."""
        return self.place == "path"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `answers` are the models of its successful answers, `problems` the statuses of its errors."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    problems: Sequence[int] = ()
    body: type[BaseModel] | None = None
    parameters: Sequence[Parameter] = field(default_factory=tuple)


_WAIT = Parameter(
    "wait",
    "query",
    "seconds to wait for the answer; so does `Prefer: wait=S` (RFC 7240)",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
)
_PREFER = Parameter("Prefer", "header", "`respond-async` or `wait=S`; the query parameter wins", {"type": "string"})
_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "a key of the client's own: repeating the request with it makes nothing new, for a day",
    {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_CHARS, "pattern": idempotency.PATTERN},
)
_TIMEOUT = Parameter(
    "timeout",
    "query",
    "seconds until the request expires if it was not computed",
    {"type": "number", "minimum": 0.001, "maximum": MAX_TIMEOUT_S},
)
_ID = Parameter("prediction_id", "path", "the id that predict answered", {"type": "string", "format": "uuid"})
_LETTER = Parameter(
    "dead_letter_id",
    "path",
    "an id of the list of dead letters",
    {"type": "string", "pattern": dead_letters.ENTRY_PATTERN},
)
_NAME = Parameter("name", "path", "a model's name", {"type": "string", "minLength": 1})
_LIMIT = Parameter(
    "limit", "query", "items on a page", {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
)
_FILTERS = (
    Parameter("model", "query", "only this model", {"type": "string", "minLength": 1, "maxLength": 100}),
    Parameter(
        "version", "query", "only this version; needs `model`", {"type": "string", "minLength": 1, "maxLength": 20}
    ),
    Parameter("status", "query", "only this status", {"type": "string", "enum": sorted(FINAL_STATUSES)}),
    _LIMIT,
    Parameter("cursor", "query", "`next_cursor` of the page before", {"type": "string", "format": "uuid"}),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/v1/predict",
        predict.predict,
        "Predict on one text",
        {200: schemas.Prediction, 202: schemas.QueuedPrediction},
        (400, 404, 408, 409, 413, 415, 422, 500, 503, 504),
        schemas.PredictRequest,
        (_WAIT, _PREFER, _TIMEOUT, _KEY),
    ),
    Operation(
        "POST",
        "/api/v1/predict/batch",
        predict.predict_batch,
        "Predict on several texts",
        {200: schemas.PredictionBatch, 202: schemas.PredictionBatch},
        (400, 404, 408, 409, 413, 415, 422, 503),
        schemas.BatchRequest,
        (_WAIT, _PREFER, _TIMEOUT, _KEY),
    ),
    Operation(
        "GET",
        "/api/v1/predictions/{prediction_id}",
        predictions.read_prediction,
        "Read one prediction, waiting for its end if asked to",
        {200: schemas.StoredPrediction},
        (404, 422, 503),
        parameters=(_ID, _WAIT, _PREFER),
    ),
    Operation(
        "GET",
        "/api/v1/predictions",
        predictions.list_predictions,
        "List finished predictions, newest first",
        {200: schemas.PredictionPage},
        (404, 422, 503),
        parameters=_FILTERS,
    ),
    Operation(
        "GET",
        "/api/v1/dead-letters",
        dead_letters.list_dead_letters,
        "List what was given up on, newest first",
        {200: schemas.DeadLetterPage},
        (422, 503),
        parameters=(
            _LIMIT,
            Parameter(
                "cursor",
                "query",
                "`next_cursor` of the page before",
                {"type": "string", "pattern": dead_letters.ENTRY_PATTERN},
            ),
        ),
    ),
    Operation(
        "POST",
        "/api/v1/dead-letters/{dead_letter_id}/replay",
        dead_letters.replay_dead_letter,
        "Try a dead letter again",
        {202: schemas.Replayed},
        (404, 409, 422, 503),
        parameters=(_LETTER, _TIMEOUT),
    ),
    Operation(
        "DELETE",
        "/api/v1/dead-letters/{dead_letter_id}",
        dead_letters.delete_dead_letter,
        "Delete a dead letter",
        {204: None},
        (404, 503),
        parameters=(_LETTER,),
    ),
    Operation("GET", "/api/v1/models", models.list_models, "List models", {200: schemas.ModelList}, (503,)),
    Operation(
        "GET",
        "/api/v1/models/{name}",
        models.read_model,
        "Read one model",
        {200: schemas.ModelInfo},
        (404, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "GET",
        "/health",
        health.health,
        "Health of service and dependencies",
        {200: schemas.Health, 503: schemas.Health},
    ),
    Operation("GET", "/livez", health.livez, "Liveness probe", {200: schemas.Probe, 503: schemas.Probe}),
    Operation("GET", "/readyz", health.readyz, "Readiness probe", {200: schemas.Probe, 503: schemas.Probe}),
)
