"""What the API takes and gives, as pydantic models: they validate requests and make the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from gateway.core.finished import Finished
from shared.contract.catalogue import Catalogue
from shared.contract.ids import id_time
from shared.contract.messages import Status
from shared.contract.tasks import NO_NUL, TASKS

# For the document: neither NUL nor only blanks, as `str.strip` has them (`\s` is another set in each language).
_BLANK = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
TEXT_PATTERN = rf"^[^\x00]*[^\x00{_BLANK}][^\x00]*$"

Text = Annotated[
    str,
    Field(
        min_length=1,
        pattern=NO_NUL,
        description="the text to predict on; not blank",
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]
_Model = Annotated[str, Field(min_length=1, max_length=100, description="a model of /api/v1/models")]
# Which options there are depends on the catalogue: see `options_schema`. They are checked once the task is known.
_Options = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/Options"})]
_Version = Annotated[str, Field(min_length=1, max_length=20, description="a version of it; absent: the default one")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictRequest(_Strict):
    """One text for one model."""

    model: _Model = Field(examples=["sentiment-analysis"])
    text: Text = Field(examples=["This is great!"])
    version: _Version | None = Field(None, examples=["1.0.0"])
    options: _Options | None = None


class BatchRequest(_Strict):
    """Several texts for one model; accepted whole or refused whole."""

    model: _Model = Field(examples=["sentiment-analysis"])
    texts: list[Text] = Field(min_length=1, examples=[["This is great!", "This is bad."]])
    version: _Version | None = Field(None, examples=["1.0.0"])
    options: _Options | None = None


def options_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The schema of `options`: all that the models of this catalogue take, though each takes only its task's."""
    properties: dict[str, Any] = {}
    for model in catalogue.models:
        properties |= {} if model.task in TASKS else {name: {} for name in model.options}
    for task in TASKS.values():
        properties |= task.options.model_json_schema().get("properties", {})
    description = "what the model's task takes besides the text"
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


class Prediction(BaseModel):
    """A finished prediction."""

    prediction_id: UUID
    model: str
    version: str
    status: Status
    result: dict[str, Any] | None = Field(description="what the model answered; null unless it succeeded")
    confidence: float | None = Field(description="0 to 1; null if the task has no score")
    processing_time_ms: int = Field(description="time of the model's batch, in ms")
    created_at: datetime = Field(description="when it was accepted")
    error: str | None = Field(None, description="what went wrong, unless it succeeded")


class StoredPrediction(Prediction):
    """A finished prediction, read by its id."""

    input: dict[str, Any] = Field(description="what was asked: the text, and the options if any")


def prediction_body(finished: Finished) -> dict[str, Any]:
    """A finished prediction as the two models above describe it; with `input` if it is known.

    Built by hand for speed: JSON that was stored as text goes out as it is.
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
    if outcome.error:
        body["error"] = outcome.error
    if finished.input is not None:
        body["input"] = orjson.Fragment(finished.input)
    return body


class QueuedPrediction(BaseModel):
    """A prediction that is not finished."""

    prediction_id: UUID
    status: Status = Status.QUEUED


def queued_body(prediction_id: str) -> dict[str, Any]:
    """A prediction that is not finished, as the model above describes it."""
    return {"prediction_id": prediction_id, "status": Status.QUEUED.value}


class PredictionBatch(BaseModel):
    """The predictions of one batch request, in its order."""

    items: list[Prediction | QueuedPrediction]


class PredictionPage(BaseModel):
    """One page of the history."""

    items: list[Prediction]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last")


class DeadLetterInfo(BaseModel):
    """A request or result that was given up on."""

    dead_letter_id: str
    source: str = Field(description="the stream it came from")
    reason: str = Field(description="a short code", examples=["max_deliveries"])
    error: str
    deliveries: int
    dead_at: datetime
    prediction_id: UUID | None
    model: str | None
    version: str | None
    attempt: int | None
    replayable: bool = Field(description="whether its request can be read, and so tried again")


class DeadLetterPage(BaseModel):
    """One page of dead letters."""

    items: list[DeadLetterInfo]
    next_cursor: str | None = Field(description="pass as `cursor` for the next page; null on the last")


class Replayed(BaseModel):
    """A prediction that is tried again."""

    prediction_id: UUID
    status: Status = Status.QUEUED
    attempt: int = Field(description="which attempt this is; the first was 0")


class ModelVersionInfo(BaseModel):
    """One version of a model."""

    version: str
    is_default: bool = Field(description="requests without a version get this one")
    is_active: bool = Field(description="requests may name it")
    workers: int = Field(description="live workers that serve it; 0: requests wait until there is one")


class ModelInfo(BaseModel):
    """A model."""

    name: str
    task: str
    description: str
    versions: list[ModelVersionInfo]


class ModelList(BaseModel):
    """All models."""

    items: list[ModelInfo]


class Health(BaseModel):
    """How the service and what it depends on are."""

    status: str = Field(description="ok; degraded: it serves, something is wrong; unavailable", examples=["ok"])
    redis: str = Field(description="ok or unavailable")
    postgres: str = Field(description="ok or unavailable")
    unserved: list[str] = Field(description="active model versions that no live worker serves")


class Probe(BaseModel):
    """A probe's answer."""

    status: str
    reason: str | None = None
