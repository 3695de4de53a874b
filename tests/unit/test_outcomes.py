"""From what a model answers to what is recorded."""

from __future__ import annotations

import math

import pytest

from inference_worker import outcomes
from inference_worker.tasks.protocol import Output
from shared.contract.messages import PredictionRequest, Status


def test_an_answer_becomes_a_success() -> None:
    outcome = outcomes.succeeded(Output({"label": "A"}, 0.75), 12, 3, "w1")
    assert outcome.status is Status.SUCCEEDED
    assert outcome.result == b'{"label":"A"}'
    assert (outcome.confidence, outcome.processing_time_ms, outcome.queue_time_ms, outcome.worker) == (
        0.75,
        12,
        3,
        "w1",
    )


@pytest.mark.parametrize("confidence", [math.nan, math.inf, -0.1, 1.1])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with pytest.raises(outcomes.BadOutput, match="not between 0 and 1"):
        outcomes.succeeded(Output({}, confidence), 0, 0, "w1")


def test_a_result_that_is_no_json_is_refused() -> None:
    with pytest.raises(outcomes.BadOutput, match="not a JSON object"):
        outcomes.succeeded(Output({"label": object()}), 0, 0, "w1")


def test_an_error_becomes_a_failure_with_its_text() -> None:
    outcome = outcomes.failed(ValueError("too odd"), 5, 6, "w1")
    assert (outcome.status, outcome.error, outcome.result) == (Status.FAILED, "ValueError: too odd", None)
    assert outcomes.failed(KeyError(), 0, 0, "w1").error == "KeyError"


def test_an_expired_request_says_how_long_it_waited() -> None:
    request = PredictionRequest("id", "m", "1", "text", {}, submitted_at=1000, deadline_at=1500)
    outcome = outcomes.expired(request, 1700, "w1")
    assert (outcome.status, outcome.queue_time_ms) == (Status.EXPIRED, 700)
    assert "after 700 ms" in outcome.error


def test_outputs_must_match_inputs_in_number() -> None:
    outcomes.check_count([1, 2], 2)
    with pytest.raises(outcomes.BadOutput, match="1 outputs for 2 inputs"):
        outcomes.check_count([1], 2)
