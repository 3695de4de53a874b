"""From what a child answers to the outcome that is recorded. Pure."""

from __future__ import annotations

from inference_worker.children.wire import Answer, Failure
from shared.contract.messages import Outcome, PredictionRequest, Status


def outcome_of(answer: Answer | Failure, processing_time_ms: int, queue_time_ms: int, worker: str) -> Outcome:
    """The outcome of an item that was computed."""
    if isinstance(answer, Failure):
        return failed(answer, processing_time_ms, queue_time_ms, worker)
    return Outcome(Status.SUCCEEDED, answer.result, answer.confidence, processing_time_ms, queue_time_ms, worker=worker)


def failed(failure: Failure, processing_time_ms: int, queue_time_ms: int, worker: str) -> Outcome:
    """The outcome of an item that the model failed on."""
    return Outcome(
        Status.FAILED,
        processing_time_ms=processing_time_ms,
        queue_time_ms=queue_time_ms,
        error=failure.error,
        worker=worker,
    )


def expired(request: PredictionRequest, now_ms: int, worker: str) -> Outcome:
    """The outcome of a request that was not computed because its deadline had passed."""
    waited = max(0, now_ms - request.submitted_at)
    return Outcome(
        Status.EXPIRED, queue_time_ms=waited, error=f"the deadline passed after {waited} ms in the queue", worker=worker
    )
