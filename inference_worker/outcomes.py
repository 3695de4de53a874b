"""From what a model answers, or what it raises, to the outcome that is recorded. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import orjson

from inference_worker.tasks.protocol import Output
from shared.contract.messages import Outcome, PredictionRequest, Status


class BadOutput(Exception):
    """The model's answer cannot be passed on."""


def check_count(outputs: Sequence[object], expected: int) -> None:
    """Refuse an answer that does not have one output for each input.

    Raises:
        BadOutput: the numbers differ: no output can be trusted to belong to its input.
    """
    if len(outputs) != expected:
        raise BadOutput(f"the model returned {len(outputs)} outputs for {expected} inputs")


def outcome_of(output: Output | Exception, processing_time_ms: int, queue_time_ms: int, worker: str) -> Outcome:
    """The outcome of an item: of its output, unless that cannot be passed on, or of what the model raised."""
    if isinstance(output, Exception):
        return failed(output, processing_time_ms, queue_time_ms, worker)
    try:
        return succeeded(output, processing_time_ms, queue_time_ms, worker)
    except BadOutput as error:
        return failed(error, processing_time_ms, queue_time_ms, worker)


def succeeded(output: Output, processing_time_ms: int, queue_time_ms: int, worker: str) -> Outcome:
    """The outcome of an output.

    Raises:
        BadOutput: the result is not a JSON object, or the confidence is not between 0 and 1.
    """
    confidence = output.confidence
    if confidence is not None and not (math.isfinite(confidence) and 0 <= confidence <= 1):
        raise BadOutput(f"the model returned the confidence {confidence!r}, which is not between 0 and 1")
    try:
        result = orjson.dumps(dict(output.result))
    except (TypeError, ValueError) as error:
        raise BadOutput(f"the model's result is not a JSON object: {error}") from error
    return Outcome(Status.SUCCEEDED, result, confidence, processing_time_ms, queue_time_ms, worker=worker)


def failed(error: BaseException, processing_time_ms: int, queue_time_ms: int, worker: str) -> Outcome:
    """The outcome of an item that the model failed on."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Outcome(
        Status.FAILED,
        processing_time_ms=processing_time_ms,
        queue_time_ms=queue_time_ms,
        error=text,
        worker=worker,
    )


def expired(request: PredictionRequest, now_ms: int, worker: str) -> Outcome:
    """The outcome of a request that was not computed because its deadline had passed."""
    waited = max(0, now_ms - request.submitted_at)
    return Outcome(
        Status.EXPIRED, queue_time_ms=waited, error=f"the deadline passed after {waited} ms in the queue", worker=worker
    )
