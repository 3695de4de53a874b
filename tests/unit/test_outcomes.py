"""From what a child answers to what is recorded."""

from __future__ import annotations

from inference_worker import outcomes
from inference_worker.children.wire import Answer, Failure
from shared.contract.messages import PredictionRequest, Status


def test_an_answer_becomes_a_success() -> None:
    outcome = outcomes.outcome_of(Answer(b'{"label":"A"}', 0.75, "A"), 12, 3, "w1")
    assert (outcome.status, outcome.result, outcome.confidence) == (Status.SUCCEEDED, b'{"label":"A"}', 0.75)
    assert (outcome.processing_time_ms, outcome.queue_time_ms, outcome.worker) == (12, 3, "w1")


def test_a_failure_keeps_its_text() -> None:
    outcome = outcomes.outcome_of(Failure("model_error", "ValueError: too odd"), 5, 6, "w1")
    assert (outcome.status, outcome.error, outcome.result) == (Status.FAILED, "ValueError: too odd", None)


def test_an_expired_request_says_how_long_it_waited() -> None:
    request = PredictionRequest("id", "m", "1", "text", {}, submitted_at=1000, deadline_at=1500)
    outcome = outcomes.expired(request, 1700, "w1")
    assert (outcome.status, outcome.queue_time_ms) == (Status.EXPIRED, 700)
    assert "after 700 ms" in outcome.error
