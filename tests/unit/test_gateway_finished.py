"""A finished prediction looks the same wherever it was found."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.schemas import prediction_body, stored_body
from gateway.core.finished import best_first, from_hint, from_result
from shared.contract.given import Given
from shared.contract.hints import Hint
from shared.contract.ids import uuid7
from shared.contract.messages import Outcome, PredictionResult, Status

ID = uuid7(1_700_000_000_123, 5)


def outcomes() -> st.SearchStrategy[Outcome]:
    """Any outcome."""
    return st.builds(
        Outcome,
        status=st.sampled_from(sorted(set(Status) - {Status.QUEUED, Status.RUNNING})),
        result=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3).map(orjson.dumps),
        confidence=st.none() | st.floats(0, 1),
        processing_time_ms=st.integers(0, 10**9),
        error=st.text(max_size=20),
    )


@given(outcome=outcomes())
def test_a_hint_and_a_state_tell_the_same(outcome: Outcome) -> None:
    hinted = from_hint(Hint(ID, 0, "echo", "1.0.0", outcome))
    read = from_result(PredictionResult(ID, "echo", "1.0.0", outcome, input=b'{"text":"a"}'))
    assert hinted is not None
    assert read.given == Given(b'{"text":"a"}') and read._replace(given=None, course=None) == hinted


@given(outcome=outcomes())
def test_a_body_is_json_and_complete(outcome: Outcome) -> None:
    finished = from_result(PredictionResult(ID, "echo", "1.0.0", outcome, input=b'{"text":"a"}'))
    body = orjson.loads(orjson.dumps(prediction_body(finished)))
    assert body.pop("error", "") == outcome.error
    assert body.pop("cached", False) == outcome.cached
    assert body == {
        "prediction_id": ID,
        "model": "echo",
        "version": "1.0.0",
        "status": outcome.status.value,
        "result": None if outcome.result is None else orjson.loads(outcome.result),
        "confidence": outcome.confidence,
        "processing_time_ms": outcome.processing_time_ms,
        "created_at": "2023-11-14T22:13:20.123000+00:00",
        "input": {"text": "a"},
    }


def test_what_is_read_by_id_says_what_became_of_it() -> None:
    outcome = Outcome(Status.SUCCEEDED, b"{}", queue_time_ms=40, worker="w-1")
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    result = PredictionResult(ID, "m", "1", outcome, attempt=1, completed_at=1_700_000_000_200, traceparent=trace)
    body = orjson.loads(orjson.dumps(stored_body(from_result(result))))
    told = {name: body[name] for name in body.keys() - prediction_body(from_result(result)).keys()}
    assert told == {
        "attempt": 1,
        "queue_time_ms": 40,
        "completed_at": "2023-11-14T22:13:20.200000+00:00",
        "stored": False,
        "worker": "w-1",
        "trace_id": "a" * 32,
    }
    hidden = stored_body(from_result(result._replace(traceparent="of nobody", outcome=outcome._replace(worker=""))))
    assert not {"worker", "trace_id"} & hidden.keys()


def test_a_hint_without_an_outcome_has_to_be_looked_up() -> None:
    assert from_hint(Hint(ID)) is None


def test_options_are_shown_where_there_were_any() -> None:
    outcome = Outcome(Status.SUCCEEDED, b"{}")
    result = PredictionResult(ID, "labels", "1.0.0", outcome, input=b'{"text":"a"}', options=b'{"labels":["x","y"]}')
    body = orjson.loads(orjson.dumps(prediction_body(from_result(result))))
    assert body["input"] == {"text": "a", "options": {"labels": ["x", "y"]}} and "options" not in body


def test_what_is_no_text_is_shown_as_it_was_sent_with_the_options_beside_it() -> None:
    result = PredictionResult(ID, "m", "1", Outcome(Status.SUCCEEDED, b"{}"), input=b"[1, 2]", options=b'{"k":1}')
    body = orjson.loads(orjson.dumps(prediction_body(from_result(result))))
    assert (body["input"], body["options"]) == ([1, 2], {"k": 1})
    assert "options" not in prediction_body(from_result(result._replace(options=b"{}")))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (b'{"label":"b","scores":{"a":0.1,"b":0.9}}', b'{"label":"b","scores":{"b":0.9,"a":0.1}}'),
        (b'{"scores": {"a": 1}, "other": [1]}', b'{"scores":{"a":1},"other":[1]}'),
        (b'{"scores": [1, 2]}', b'{"scores": [1, 2]}'),
        (b'{"scores": {"a": "high", "b": "low"}}', b'{"scores": {"a": "high", "b": "low"}}'),
        (b'{"scores": {"a": null}}', b'{"scores": {"a": null}}'),
        (b'{"text": "no \\"scores\\" here"}', b'{"text": "no \\"scores\\" here"}'),
        (b'{"a": {"scores": {"x": 1}}}', b'{"a": {"scores": {"x": 1}}}'),
    ],
)
def test_scores_are_shown_from_best_to_worst_and_other_kinds_as_they_are(stored: bytes, shown: bytes) -> None:
    assert best_first(stored) == shown
