"""What a worker and a child say to each other: frames of JSON and bytes over a pair of sockets. Pure.

    | u32 length of the head | u32 length of the body | head: JSON | body: the parts, one after another |

A child has two connections, one for each step, and on each of them every request has one reply, before which the child
may say how far it is, and the worker that an item is not wanted any more. An encoded item crosses as bytes that only a
child of the same version unpickles; to the worker they are opaque. A lone item is encoded and computed by one request.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson

from shared.contract.errors import MalformedMessage
from shared.contract.progress import Progress, checked_progress

PREFIX = struct.Struct("!II")
Out = TypeVar("Out")

MOST_HEAD_BYTES = 64 * 1024 * 1024

# The reasons of failures, beside `shared.contract.inputs.INVALID_INPUT`. Only the text of MODEL_ERROR is the model's.
MODEL_ERROR, BAD_OUTPUT, RESULT_TOO_LARGE = "model_error", "bad_output", "result_too_large"
DEVICE_OUT_OF_MEMORY = "device_out_of_memory"


class Failure(NamedTuple):
    """Why one item has no answer: a short code, and for people what went wrong.

    Attributes:
        tokens: of an item that was sent as `Lone`.
    """

    reason: str
    error: str
    tokens: int = 0


class Prepared(NamedTuple):
    """An encoded item; see `inference_worker.tasks.protocol.Encoded`."""

    tokens: int
    rows: int
    data: bytes


class Lone(Prepared):
    """An item that is not encoded yet, and a batch of its own: its data are its input and options as JSON."""

    @classmethod
    def of(cls, input_: Any, options: Mapping[str, Any]) -> Lone:
        """An input with its options."""
        return cls(0, 0, orjson.dumps((input_, dict(options))))


class Answer(NamedTuple):
    """The output of one item: its result as JSON, and its `label` if the task has a list of labels.

    Attributes:
        tokens: of an item that was sent as `Lone`.
    """

    result: bytes
    confidence: float | None
    label: str | None
    tokens: int = 0


class BadFrame(Exception):
    """What arrived is not a frame of this protocol."""


def frame(head: Any, parts: Sequence[bytes] = ()) -> bytes:
    """A frame, ready to be sent."""
    encoded = orjson.dumps(head)
    return b"".join((PREFIX.pack(len(encoded), sum(map(len, parts))), encoded, *parts))


def encode_request(items: Sequence[tuple[Any, Any]]) -> bytes:
    """Ask for inputs with their options to be encoded."""
    return frame(items)


def predict_request(batch: Sequence[Prepared]) -> bytes:
    """Ask for a batch of encoded items to be computed, or for a lone item to be encoded and computed."""
    costs: Any = [[each.tokens, each.rows, len(each.data)] for each in batch]
    return frame("lone" if isinstance(batch[0], Lone) else costs, [each.data for each in batch])


def lone_in(head: Any, body: bytes) -> tuple[Any, Any] | None:
    """The input and the options of a lone item that `predict_request` wrote; None if it is something else."""
    if head != "lone":
        return None
    input_, options = orjson.loads(body)
    return input_, options


def encode_reply(encoded: Sequence[Prepared | Failure]) -> bytes:
    """Answer `encode_request`."""
    return frame(*_reply_of(encoded, lambda each: (each.data, each.tokens, each.rows)))


def predict_reply(
    answers: Sequence[Answer | Failure], device_bytes: int | None = None, tokens: int | None = None
) -> bytes:
    """Answer `predict_request`.

    Args:
        device_bytes: how much memory of its device the child has taken, if it has one.
        tokens: of a lone item.
    """
    head, parts = _reply_of(answers, lambda each: (each.result, each.confidence, each.label))
    beside = {"device_bytes": device_bytes, "tokens": tokens}
    return frame(head if device_bytes is tokens is None else {"answers": head, **beside}, parts)


def progress_frame(index: int, progress: Progress) -> bytes:
    """Say how far an item of the batch is, before `predict_reply`."""
    return frame({"progress": [index, *progress]})


def progress_in(head: Any, count: int) -> tuple[int, Progress] | None:
    """What `progress_frame` wrote: which of `count` items, and how far it is; None if it is a reply.

    Raises:
        BadFrame: it is something else.
    """
    if not isinstance(head, dict) or "progress" not in head:
        return None
    told = head["progress"]
    if not isinstance(told, list) or not told or not _is_count(told[0]) or told[0] >= count:
        raise BadFrame("progress of no item of the batch")
    try:
        return told[0], checked_progress(told[1:])
    except MalformedMessage as error:
        raise BadFrame(str(error)) from error


def stop_frame(index: int) -> bytes:
    """Say, after `predict_request`, that an item of the batch is not wanted any more. It has no reply."""
    return frame({"stop": index})


def stopped_in(head: Any) -> int | None:
    """What `stop_frame` wrote; None if it is something else."""
    return head["stop"] if isinstance(head, dict) and "stop" in head else None


def told_beside(head: Any) -> tuple[Any, int | None, int | None]:
    """Take the head of `predict_reply` apart: the answers, the bytes of its device, the tokens of a lone item."""
    if not isinstance(head, dict):
        return head, None, None
    used, tokens = (each if _is_count(each) else None for each in (head.get("device_bytes"), head.get("tokens")))
    return head.get("answers"), used, tokens


def _reply_of(
    items: Sequence[Any], split: Callable[[Any], tuple[bytes, Any, Any]]
) -> tuple[list[list[Any]], list[bytes]]:
    head: list[list[Any]] = []
    parts = []
    for item in items:
        if isinstance(item, Failure):
            head.append([item.reason, item.error])
            continue
        part, *facts = split(item)
        parts.append(part)
        head.append([len(part), *facts])
    return head, parts


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
    return _replies(head, body, _prepared)


def read_predict_reply(head: Any, body: bytes) -> list[Answer | Failure]:
    """What `predict_reply` wrote.

    Raises:
        BadFrame: it is something else.
    """
    return _replies(head, body, _answer)


def _replies(head: Any, body: bytes, made: Callable[[bytes, Any, Any], Out]) -> list[Out | Failure]:
    """Read a reply as the work of a model, which may have written to the connection itself."""
    if not isinstance(head, list) or not all(isinstance(each, list) and len(each) in (2, 3) for each in head):
        raise BadFrame("something else than a list of answers and failures")
    lengths = [each[0] for each in head if len(each) == 3]
    if not all(_is_count(length) for length in lengths):
        raise BadFrame("a length that is not a whole number")
    parts = iter(parts_of(lengths, body))
    return [
        Failure(str(each[0]), str(each[1])) if len(each) == 2 else made(next(parts), each[1], each[2]) for each in head
    ]


def _prepared(data: bytes, tokens: Any, rows: Any) -> Prepared:
    if not (_is_count(tokens) and _is_count(rows)):
        raise BadFrame("an encoded item whose tokens and rows are not whole numbers")
    return Prepared(tokens, rows, data)


def _answer(result: bytes, confidence: Any, label: Any) -> Answer:
    number = confidence is None or (isinstance(confidence, float) and 0 <= confidence <= 1)
    if not number or not (label is None or isinstance(label, str)):
        raise BadFrame("an answer whose confidence or label is something else")
    return Answer(result, confidence, label)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
