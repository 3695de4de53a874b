"""Tensors of the Open Inference Protocol v2, as JSON and in the binary extension. Pure.

In the binary extension the elements of a tensor stand behind the JSON: numbers little-endian, each BYTES element behind
its length in four bytes. Whatever a request says of shapes and lengths is compared with what came, before it is used.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from shared.contract.errors import MillstreamError

_LENGTH = struct.Struct("<I")


class MalformedTensor(MillstreamError):
    """A tensor that is not as it says; the message is for the client."""


class Tensor(NamedTuple):
    """An output: `data` has its elements, the last axis first."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: Sequence[int]
    data: Sequence[Any]


def count_of(shape: Sequence[int], most: int) -> int:
    """How many elements an input has.

    Raises:
        MalformedTensor: its shape is not [N] or [N, 1], or N is not between 1 and `most`.
    """
    if len(shape) not in (1, 2) or list(shape[1:]) not in ([], [1]):
        raise MalformedTensor("its shape must be [N] or [N, 1]: one element for each prediction")
    if not 1 <= shape[0] <= most:
        raise MalformedTensor(f"it must have 1 to {most} elements, not {shape[0]}")
    return shape[0]


def texts_of_json(data: Sequence[Any], count: int) -> list[str]:
    """The elements of a BYTES tensor in JSON, flat or nested as [N, 1].

    Raises:
        MalformedTensor: there are more or fewer than `count`, or one is no string.
    """
    flat = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    if len(flat) != count:
        raise MalformedTensor(f"its data has {len(flat)} elements, and its shape says {count}")
    for index, each in enumerate(flat):
        if not isinstance(each, str):
            raise MalformedTensor(f"element {index} must be a string")
    return flat


def texts_of_bytes(packed: bytes, count: int) -> list[str]:
    """The elements of a BYTES tensor in the binary extension.

    Raises:
        MalformedTensor: it has more or fewer bytes than `count` elements, or one is not UTF-8.
    """
    texts, at = [], 0
    for index in range(count):
        start = at + _LENGTH.size
        if start > len(packed):
            raise MalformedTensor(f"its bytes end before element {index}")
        at = start + int(_LENGTH.unpack_from(packed, start - _LENGTH.size)[0])
        if at > len(packed):
            raise MalformedTensor(f"element {index} has {at - start} bytes, of which {len(packed) - start} are there")
        try:
            texts.append(packed[start:at].decode())
        except UnicodeDecodeError:
            raise MalformedTensor(f"element {index} is not UTF-8") from None
    if at != len(packed):
        raise MalformedTensor(f"{len(packed) - at} bytes follow its last element")
    return texts


def packed(tensor: Tensor) -> bytes:
    """The elements of a tensor in the binary extension."""
    if tensor.datatype == "FP32":
        numbers = array("f", tensor.data)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()
    encoded = [each.encode() for each in tensor.data]
    return b"".join(part for each in encoded for part in (_LENGTH.pack(len(each)), each))


def described(tensor: Tensor, *, binary: bool) -> tuple[Mapping[str, Any], bytes]:
    """A tensor as JSON, and what of it stands behind the JSON."""
    about = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if not binary:
        return {**about, "data": tensor.data}, b""
    behind = packed(tensor)
    return {**about, "parameters": {"binary_data_size": len(behind)}}, behind
