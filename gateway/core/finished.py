"""A finished prediction as the API shows it, wherever it was found: a hint, Redis's state, or Postgres. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from shared.contract.hints import Hint
from shared.contract.ids import id_time
from shared.contract.messages import Outcome, PredictionResult, Status, input_of


class Finished(NamedTuple):
    """A finished prediction; `result` and `input` are JSON texts and go out as they are."""

    id: str
    model: str
    version: str
    status: Status
    result: bytes | None
    confidence: float | None
    processing_time_ms: int
    error: str | None
    input: bytes | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object of the API; with `input` where it is known."""
        body: dict[str, Any] = {
            "prediction_id": self.id,
            "model": self.model,
            "version": self.version,
            "status": self.status.value,
            "result": None if self.result is None else orjson.Fragment(self.result),
            "confidence": self.confidence,
            "processing_time_ms": self.processing_time_ms,
            "created_at": id_time(self.id),
        }
        if self.error:
            body["error"] = self.error
        if self.input is not None:
            body["input"] = orjson.Fragment(self.input)
        return body


def from_hint(hint: Hint) -> Finished | None:
    """From a hint; None where it came without its outcome."""
    if hint.outcome is None:
        return None
    return _finished(hint.id, hint.model, hint.version, hint.outcome, None)


def from_result(result: PredictionResult) -> Finished:
    """From an entry of the result stream."""
    return _finished(result.id, result.model, result.version, result.outcome, input_of(result))


def _finished(prediction_id: str, model: str, version: str, outcome: Outcome, shown_input: bytes | None) -> Finished:
    return Finished(
        id=prediction_id,
        model=model,
        version=version,
        status=outcome.status,
        result=outcome.result,
        confidence=outcome.confidence,
        processing_time_ms=outcome.processing_time_ms,
        error=outcome.error or None,
        input=shown_input,
    )
