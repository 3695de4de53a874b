"""From what a child answers to the outcome that is recorded. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_worker.children.wire import MODEL_ERROR, Answer, Failure
from shared.contract.inputs import strings_of
from shared.contract.messages import Outcome, PredictionRequest, Status, readable

_QUOTED_CHARS = 3  # a shorter part of the input is also a part of words
HIDDEN_ERROR = "the model failed; the worker's log has the reason under this id"


def outcome_of(
    answer: Answer | Failure, processing_time_ms: int, queue_time_ms: int, worker: str, exposes_errors: bool
) -> Outcome:
    """The outcome of an item that was computed.

    Args:
        exposes_errors: whether callers are told what the model raised: its text may hold anything.
    """
    if isinstance(answer, Answer):
        found = Outcome(Status.SUCCEEDED, answer.result, answer.confidence)
    elif exposes_errors or answer.reason != MODEL_ERROR:
        found = Outcome(Status.FAILED, error=answer.error)
    else:
        found = Outcome(Status.FAILED, error=HIDDEN_ERROR)
    return found._replace(processing_time_ms=processing_time_ms, queue_time_ms=queue_time_ms, worker=worker)


def shares_us(seconds: float, tokens: Sequence[int]) -> list[int]:
    """How long each item of a pass was computed, in microseconds: its share of the pass by its tokens."""
    total = max(1, sum(tokens))
    return [round(seconds * 1_000_000 * each / total) for each in tokens]


def told_of(failure: Failure, value: Any) -> str:
    """A failure for the worker's log: one line, without the strings of the input if the model quotes them."""
    error = failure.error
    for text in sorted(strings_of(value), key=len, reverse=True):
        if len(text.strip()) >= (1 if text == value else _QUOTED_CHARS):
            error = error.replace(text, "[the text]")
    return readable(error)


def expired(request: PredictionRequest, now_ms: int, worker: str) -> Outcome:
    """The outcome of a request that was not computed because its deadline had passed."""
    waited = max(0, now_ms - request.submitted_at)
    return Outcome(
        Status.EXPIRED, queue_time_ms=waited, error=f"the deadline passed after {waited} ms in the queue", worker=worker
    )
