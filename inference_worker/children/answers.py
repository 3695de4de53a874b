"""What may leave a child: outputs and encoded items that are what the task protocol says, and not too large. Pure.

An answer that leaves it can be stored: Postgres takes neither NUL nor a lone surrogate, and what it refuses was told to
the client as succeeded before.
"""

from __future__ import annotations

import math
import pickle  # nosec B403 - read again only by a child of the same version
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import orjson

from inference_worker.children.guard import BadOutput, ResultTooLarge
from inference_worker.children.wire import Answer, Prepared
from inference_worker.tasks.objects import fields_of, has_fields
from inference_worker.tasks.protocol import Encoded, InvalidInput, Output
from shared.contract.inputs import NUL

MOST_ENCODED_BYTES = 16 * 1024 * 1024


def preparing(most_tokens: int, most_chunks: int) -> Callable[[object], Prepared]:
    """What makes bytes of an encoded item, for a version whose texts may have so many padded tokens, and chunks."""

    def prepared(encoded: object) -> Prepared:
        if not isinstance(encoded, Encoded):
            raise BadOutput(f"encode returned {_kind(encoded)} for an item, not an Encoded")
        if not all(isinstance(number, Integral) and number >= 0 for number in (encoded.tokens, encoded.rows)):
            raise BadOutput("encode returned an Encoded whose tokens and rows are not whole numbers")
        tokens, rows = int(encoded.tokens), int(encoded.rows)
        if rows > most_chunks:
            raise InvalidInput(f"the input has {rows} chunks for this model (limits.chunks: {most_chunks}); split it")
        if tokens * rows > most_tokens:
            raise InvalidInput(f"the input has {tokens * rows} tokens (limits.tokens: {most_tokens}); split it")
        data = pickle.dumps(encoded.data, protocol=pickle.HIGHEST_PROTOCOL)
        if len(data) > MOST_ENCODED_BYTES:
            raise BadOutput(f"encode returned {len(data)} bytes for an item; at most {MOST_ENCODED_BYTES} are allowed")
        return Prepared(tokens, rows, data)

    return prepared


def unpacked(item: Prepared) -> Encoded:
    """The encoded item that `preparing` packed."""
    return Encoded(item.tokens, pickle.loads(item.data), item.rows)  # nosec B301 - made by a child of the same version


def answering(most_bytes: int, with_labels: bool) -> Callable[[object], Answer]:
    """What makes an answer of an output, for a version whose results may have at most `most_bytes` bytes of JSON."""

    def answer(output: object) -> Answer:
        if not isinstance(output, Output):
            raise BadOutput(f"the model returned {_kind(output)} for an item, not an Output")
        fields = _fields(output.result)
        result = _encoded(fields, most_bytes)
        label = fields.get("label") if with_labels else None
        return Answer(result, _confidence(output.confidence), label if isinstance(label, str) else None)

    return answer


def _fields(result: object) -> dict[str, Any]:
    if has_fields(result):
        return fields_of(result)
    try:
        return dict(result)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError) as error:
        raise BadOutput(f"the model's result is not a JSON object but {_kind(result)}") from error


def _encoded(fields: Mapping[str, Any], most_bytes: int) -> bytes:
    """The text of a result, of Python's types and numpy's numbers and arrays."""
    try:
        encoded = orjson.dumps(fields, _plain, orjson.OPT_SERIALIZE_NUMPY)
        if len(encoded) > most_bytes:
            figures = f"{len(encoded)} bytes of JSON; at most {most_bytes} are allowed (max_output_bytes)"
            raise ResultTooLarge(f"the model's result has {figures}")
        orjson.loads(encoded)  # an `orjson.Fragment` may hold anything
    except (TypeError, ValueError) as error:
        raise BadOutput(f"the model's result is not a JSON object: {error}") from error
    if NUL.search(encoded):
        raise BadOutput("the model's result has a NUL character, which cannot be stored")
    if b"null" in encoded and not _finite(fields):
        raise BadOutput("the model's result has a number that is not finite (nan or inf), which JSON does not know")
    return encoded


def _plain(value: Any) -> Any:
    """What the encoder does not take itself: arrays of one number, with gaps or of texts; tensors."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if has_fields(value):
        return fields_of(value)
    raise TypeError(f"{_kind(value)} has no JSON")


def _finite(value: Any) -> bool:
    """Whether all numbers are finite: the encoder writes others as null."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if has_fields(value):
        return _finite(fields_of(value))
    return not isinstance(value, float) or math.isfinite(value)


def _confidence(confidence: object) -> float | None:
    if confidence is None:
        return None
    number = float(confidence) if isinstance(confidence, Real) and not isinstance(confidence, bool) else math.nan
    if not 0 <= number <= 1:  # nor is nan
        raise BadOutput(f"the model returned the confidence {confidence!r}, which is not between 0 and 1")
    return number


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
