"""What a worker and a child say to each other, and what a model may say in a child's place."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from inference_worker.children import wire
from inference_worker.children.wire import Answer, BadFrame, Failure, Lone, Prepared

FAILED = Failure("model_error", "ValueError: odd")


def received(frame: bytes) -> tuple[Any, bytes]:
    """Head and body of a frame."""
    head, body = wire.PREFIX.unpack(frame[: wire.PREFIX.size])
    assert len(frame) == wire.PREFIX.size + head + body
    return orjson.loads(frame[wire.PREFIX.size :][:head]), frame[wire.PREFIX.size + head :]


def test_replies_are_read_as_they_were_written() -> None:
    encoded: list[Prepared | Failure] = [Prepared(3, 1, b"abc"), FAILED, Prepared(0, 2, b"")]
    assert wire.read_encode_reply(*received(wire.encode_reply(encoded))) == encoded
    answers: list[Answer | Failure] = [Answer(b"{}", None, None), FAILED, Answer(b'{"a":1}', 0.5, "A")]
    assert wire.read_predict_reply(*received(wire.predict_reply(answers))) == answers


def test_what_a_child_has_taken_of_its_device_comes_with_its_answers() -> None:
    answers: list[Answer | Failure] = [Answer(b"{}", None, None), FAILED]
    head, body = received(wire.predict_reply(answers, 5))
    found, *beside = wire.told_beside(head)
    assert beside == [5, None] and wire.read_predict_reply(found, body) == answers
    assert wire.told_beside(received(wire.predict_reply(answers))[0])[1:] == (None, None)
    assert wire.told_beside({"answers": [], "device_bytes": "5"}) == ([], None, None)


def test_a_lone_item_is_read_as_it_was_written_and_its_tokens_come_with_its_answer() -> None:
    lone = Lone.of({"a": ["é", 1.5]}, {"labels": ["x"]})
    assert wire.lone_in(*received(wire.predict_request([lone]))) == ({"a": ["é", 1.5]}, {"labels": ["x"]})
    assert wire.lone_in(*received(wire.predict_request([Prepared(3, 1, b"abc")]))) is None
    head, body = received(wire.predict_reply([FAILED], tokens=7))
    found, *beside = wire.told_beside(head)
    assert beside == [None, 7] and wire.read_predict_reply(found, body) == [FAILED]
    assert wire.told_beside({"answers": [], "tokens": -1}) == ([], None, None)


BAD: list[Any] = [
    None,
    {"a": 1},
    [1],
    [[1]],
    [[1, 2, 3, 4]],
    [["1", 1, 1]],
    [[-1, 1, 1]],
    [[True, 1, 1]],
    [[2, 1, 1]],
    [[1, "x", 1]],
    [[1, 1, []]],
    [[1, 2.5, {}]],
]


@pytest.mark.parametrize("head", BAD)
def test_what_is_no_reply_is_refused_and_stops_nothing(head: Any) -> None:
    for read in (wire.read_encode_reply, wire.read_predict_reply):
        with pytest.raises(BadFrame):
            read(head, b"x")


@pytest.mark.parametrize("confidence", ["0.9", 1, 1.5, -0.1, True])
def test_a_confidence_that_no_answer_has_is_refused(confidence: Any) -> None:
    with pytest.raises(BadFrame):
        wire.read_predict_reply([[1, confidence, None]], b"x")
