"""The operations of the API in one table: from it the routes, who may use them, and the OpenAPI document are made."""

from __future__ import annotations

from gateway.api import (
    dead_letters,
    experiment_schemas,
    experiments,
    feedback,
    health,
    models,
    predict,
    predictions,
    queries,
    schemas,
    usage,
)
from gateway.core.principal import Scope
from gateway.http import idempotency
from gateway.http.openapi import Operation, Parameter

_PREFER = Parameter(
    "Prefer", "header", "`respond-async` or `wait=S`; the query parameter takes precedence", {"type": "string"}
)
_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "a key chosen by the client: for a day, unless configured otherwise, a repeat with it creates no new prediction",
    {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_CHARS, "pattern": idempotency.PATTERN},
)
_CACHE = Parameter(
    "Cache-Control", "header", "`no-cache`: compute anew; `no-store`: and keep no result either", {"type": "string"}
)
_ID = Parameter("prediction_id", "path", "the id returned by predict", {"type": "string", "format": "uuid"})
_LETTER = Parameter(
    "dead_letter_id",
    "path",
    "an id from the list of dead letters",
    {"type": "string", "pattern": queries.ENTRY_PATTERN},
)
_NAME = Parameter("name", "path", "the name of a model", {"type": "string", "minLength": 1})
_EXPERIMENT = "/api/v1/models/{name}/experiment"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/v1/predict",
        predict.predict,
        (Scope.PREDICT,),
        "Predict for one text",
        {200: schemas.Prediction, 202: schemas.QueuedPrediction},
        (400, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        schemas.PredictRequest,
        queries.PredictQuery,
        (_PREFER, _KEY, _CACHE),
    ),
    Operation(
        "POST",
        "/api/v1/predict/batch",
        predict.predict_batch,
        (Scope.PREDICT,),
        "Predict for several texts",
        {200: schemas.PredictionBatch, 202: schemas.PredictionBatch},
        (400, 404, 408, 409, 413, 415, 422, 429, 503),
        schemas.BatchRequest,
        queries.PredictQuery,
        (_PREFER, _KEY, _CACHE),
    ),
    Operation(
        "GET",
        "/api/v1/predictions/{prediction_id}",
        predictions.read_prediction,
        (Scope.READ,),
        "Read one prediction, optionally waiting until it is finished",
        {200: (schemas.StoredPrediction, schemas.QueuedPrediction)},
        (404, 422, 503),
        query=queries.WaitQuery,
        parameters=(_ID, _PREFER),
    ),
    Operation(
        "POST",
        "/api/v1/predictions/{prediction_id}/feedback",
        feedback.give_feedback,
        (Scope.PREDICT, Scope.READ),
        "Say whether an answer was right",
        {204: None},
        (400, 404, 408, 413, 415, 422, 503),
        experiment_schemas.FeedbackBody,
        parameters=(_ID,),
    ),
    Operation(
        "GET",
        "/api/v1/predictions",
        predictions.list_predictions,
        (Scope.READ,),
        "List finished predictions, newest first",
        {200: schemas.PredictionPage},
        (404, 422, 503),
        query=queries.HistoryQuery,
    ),
    Operation(
        "GET",
        "/api/v1/usage",
        usage.usage,
        (Scope.READ,),
        "What was used, by day and model version: one's own, or with `read:all` everybody's",
        {200: schemas.Usage},
        (422, 429, 503),
        query=queries.UsageQuery,
    ),
    Operation(
        "GET",
        "/api/v1/dead-letters",
        dead_letters.list_dead_letters,
        (Scope.ADMIN,),
        "List dead letters, newest first",
        {200: schemas.DeadLetterPage},
        (422, 503),
        query=queries.DeadLetterQuery,
    ),
    Operation(
        "POST",
        "/api/v1/dead-letters/{dead_letter_id}/replay",
        dead_letters.replay_dead_letter,
        (Scope.ADMIN,),
        "Replay a dead letter",
        {202: schemas.Replayed},
        (404, 409, 422, 503),
        query=queries.TimeoutQuery,
        parameters=(_LETTER,),
    ),
    Operation(
        "DELETE",
        "/api/v1/dead-letters/{dead_letter_id}",
        dead_letters.delete_dead_letter,
        (Scope.ADMIN,),
        "Delete a dead letter",
        {204: None},
        (404, 503),
        parameters=(_LETTER,),
    ),
    Operation(
        "GET", "/api/v1/models", models.list_models, tuple(Scope), "List models", {200: schemas.ModelList}, (503,)
    ),
    Operation(
        "GET",
        "/api/v1/models/{name}",
        models.read_model,
        tuple(Scope),
        "Read one model",
        {200: schemas.ModelInfo},
        (404, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "PUT",
        _EXPERIMENT,
        experiments.start_experiment,
        (Scope.ADMIN,),
        "Start an experiment between versions of a model",
        {200: experiment_schemas.ExperimentInfo},
        (400, 404, 408, 413, 415, 422, 503),
        experiment_schemas.ExperimentBody,
        parameters=(_NAME,),
    ),
    Operation(
        "GET",
        _EXPERIMENT,
        experiments.read_experiment,
        (Scope.READ_ALL, Scope.ADMIN),
        "Read the experiment of a model that runs, or else the last one",
        {200: experiment_schemas.ExperimentInfo},
        (404, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "DELETE",
        _EXPERIMENT,
        experiments.stop_experiment,
        (Scope.ADMIN,),
        "Stop the experiment of a model",
        {204: None},
        (404, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "GET",
        f"{_EXPERIMENT}/results",
        experiments.read_results,
        (Scope.READ_ALL, Scope.ADMIN),
        "Results of the experiment of a model that runs, or else of the last one",
        {200: experiment_schemas.ExperimentResults},
        (404, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "GET",
        "/health",
        health.health,
        (),
        "Health of the service and its dependencies",
        {200: schemas.Health, 503: schemas.Health},
    ),
    Operation("GET", "/livez", health.livez, (), "Liveness probe", {200: schemas.Probe, 503: schemas.Probe}),
    Operation("GET", "/readyz", health.readyz, (), "Readiness probe", {200: schemas.Probe, 503: schemas.Probe}),
)
