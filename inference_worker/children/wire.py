"""What a worker and a child say to each other: frames of JSON and bytes over a pair of sockets. Pure.

    | u32 length of the head | u32 length of the body | head: JSON | body: the parts, one after another |

A child has two connections, one for each step, and on each of them every request has one reply. An encoded item
crosses as bytes that only a child of the same version unpickles; to the worker they are opaque.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

PREFIX = struct.Struct("!II")
MOST_HEAD_BYTES = 64 * 1024 * 1024


class Failure(NamedTuple):
    """Why one item has no answer: a short code, and for people what went wrong."""

    reason: str
    error: str


class Prepared(NamedTuple):
    """An encoded item; see `inference_worker.tasks.protocol.Encoded`."""

    tokens: int
    rows: int
    data: bytes


class Answer(NamedTuple):
    """The output of one item: its result as JSON, and its `label` if the task has a list of labels."""

    result: bytes
    confidence: float | None
    label: str | None


class BadFrame(Exception):
    """What arrived is not a frame of this protocol."""


def frame(head: Any, parts: Sequence[bytes] = ()) -> bytes:
    """A frame, ready to be sent."""
    encoded = orjson.dumps(head)
    return b"".join((PREFIX.pack(len(encoded), sum(map(len, parts))), encoded, *parts))


def encode_request(items: Sequence[tuple[str, Any]]) -> bytes:
    """Ask for texts with their options to be encoded."""
    return frame(items)


def predict_request(batch: Sequence[Prepared]) -> bytes:
    """Ask for a batch of encoded items to be computed."""
    return frame([[each.tokens, each.rows, len(each.data)] for each in batch], [each.data for each in batch])


def encode_reply(encoded: Sequence[Prepared | Failure]) -> bytes:
    """Answer `encode_request`."""
    return frame(
        [list(each) if isinstance(each, Failure) else [each.tokens, each.rows, len(each.data)] for each in encoded],
        [each.data for each in encoded if isinstance(each, Prepared)],
    )


def predict_reply(answers: Sequence[Answer | Failure]) -> bytes:
    """Answer `predict_request`."""
    return frame(
        [list(e) if isinstance(e, Failure) else [len(e.result), e.confidence, e.label] for e in answers],
        [each.result for each in answers if isinstance(each, Answer)],
    )


def parts_of(lengths: Sequence[int], body: bytes) -> list[bytes]:
    """Cut a body into its parts.

    Raises:
        BadFrame: the lengths are not those of this body.
    """
    if sum(lengths) != len(body):
        raise BadFrame(f"parts of {sum(lengths)} bytes in a body of {len(body)}")
    parts = []
    begin = 0
    for length in lengths:
        parts.append(body[begin : begin + length])
        begin += length
    return parts


def read_encode_reply(head: Any, body: bytes) -> list[Prepared | Failure]:
    """What `encode_reply` wrote.

    Raises:
        BadFrame: it is something else.
    """
    cut = _cutter(head, body)
    return [
        Failure(str(each[0]), str(each[1])) if len(each) == 2 else Prepared(int(each[0]), int(each[1]), cut(each[2]))
        for each in _rows(head)
    ]


def read_predict_reply(head: Any, body: bytes) -> list[Answer | Failure]:
    """What `predict_reply` wrote.

    Raises:
        BadFrame: it is something else.
    """
    cut = _cutter(head, body, at=0)
    return [
        Failure(str(each[0]), str(each[1])) if len(each) == 2 else Answer(cut(each[0]), each[1], each[2])
        for each in _rows(head)
    ]


def _rows(head: Any) -> Iterator[list[Any]]:
    if not isinstance(head, list):
        raise BadFrame(f"a {type(head).__name__} instead of a list")
    for each in head:
        if not isinstance(each, list) or len(each) not in (2, 3):
            raise BadFrame("an item that is neither an answer nor a failure")
        yield each


def _cutter(head: Any, body: bytes, at: int = 2) -> Any:
    lengths = [each[at] for each in _rows(head) if len(each) == 3]
    if not all(isinstance(length, int) and length >= 0 for length in lengths):
        raise BadFrame("a length that is not a number")
    parts = iter(parts_of(lengths, body))
    return lambda length: next(parts)
