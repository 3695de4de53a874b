"""From what a child answers to what is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from inference_worker import outcomes
from inference_worker.children.wire import Answer, Failure
from inference_worker.settings import WorkerSettings
from shared.contract.messages import PredictionRequest, Status


def test_an_answer_becomes_a_success() -> None:
    outcome = outcomes.outcome_of(Answer(b'{"label":"A"}', 0.75, "A"), 12, 3, "w1", False)
    assert (outcome.status, outcome.result, outcome.confidence) == (Status.SUCCEEDED, b'{"label":"A"}', 0.75)
    assert (outcome.processing_time_ms, outcome.queue_time_ms, outcome.worker) == (12, 3, "w1")


@pytest.mark.parametrize(
    ("reason", "exposes", "told"),
    [
        ("model_error", True, "ValueError: too odd"),
        ("model_error", False, "the model failed; the worker's log has the reason under this id"),
        ("bad_output", False, "ValueError: too odd"),  # these texts are ours
        ("invalid_input", False, "ValueError: too odd"),
        ("result_too_large", False, "ValueError: too odd"),
    ],
)
def test_what_a_model_raised_is_told_only_if_that_is_wanted(reason: str, exposes: bool, told: str) -> None:
    outcome = outcomes.outcome_of(Failure(reason, "ValueError: too odd"), 5, 6, "w1", exposes)
    assert (outcome.status, outcome.error, outcome.result) == (Status.FAILED, told, None)
    assert (outcome.processing_time_ms, outcome.queue_time_ms, outcome.worker) == (5, 6, "w1")


def test_the_log_has_one_bounded_line_without_the_input() -> None:
    told = outcomes.told_of(Failure("model_error", "ValueError: 'my text'\n\x1b[31m is odd" + "x" * 2000), "my text")
    assert told.startswith("ValueError: '[the text]' [31m is odd")
    assert len(told) == 500
    assert outcomes.told_of(Failure("model_error", "a b"), " ") == "a b"
    assert outcomes.told_of(Failure("model_error", "KeyError: 'an a'"), {"kind": "a"}) == "KeyError: 'an a'"  # a letter


@pytest.mark.parametrize(
    ("settings", "exposes"),
    [
        ({}, True),
        ({"environment": "staging"}, False),
        ({"environment": "production"}, False),
        ({"environment": "production", "expose_model_errors": True}, True),
        ({"expose_model_errors": False}, False),
    ],
)
def test_errors_are_told_locally_unless_it_is_set(settings: dict[str, Any], exposes: bool) -> None:
    assert WorkerSettings(**settings).exposes_model_errors is exposes


def test_an_expired_request_says_how_long_it_waited() -> None:
    request = PredictionRequest("id", "m", "1", "text", {}, submitted_at=1000, deadline_at=1500)
    outcome = outcomes.expired(request, 1700, "w1")
    assert (outcome.status, outcome.queue_time_ms, outcome.worker) == (Status.EXPIRED, 700, "w1")
    assert "after 700 ms" in outcome.error
    assert outcomes.expired(request, 999, "w1").queue_time_ms == 0  # its clock was ahead


def test_an_item_that_is_computed_alone_took_the_whole_pass() -> None:
    assert outcomes.shares_us(2.5, [1]) == [2_500_000]
