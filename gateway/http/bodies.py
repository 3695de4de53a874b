"""Reading request bodies: JSON that fits a model, or an error that says why it does not.

What a body costs is bounded before it is parsed: its bytes, unpacked too, and how many values it has.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.http.context import SETTINGS
from gateway.http.problems import ProblemError, invalid, invalid_fields

Body = TypeVar("Body", bound=BaseModel)

MOST_VALUES = 10_000
# A string, or a comma outside of one. A string without an end reaches to the end, which keeps the search linear.
_STRING_OR_COMMA = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|,', re.DOTALL)
_WINDOWS = {"gzip": 31, "deflate": 15}  # zlib's `wbits`


async def read_body(request: web.Request, kind: type[Body]) -> Body:
    """The request body as a model.

    Raises:
        ProblemError: 415 wrong content type or encoding, 400 malformed JSON, 408 too slow, 422 invalid field.
        web.HTTPRequestEntityTooLarge: larger than the limit, as it came or unpacked.
    """
    return parse(await read_bytes(request, "application/json"), kind)


async def read_bytes(request: web.Request, *content_types: str) -> bytes:
    """The request body, unpacked.

    Args:
        content_types: of which it must have one. (A request without any has `application/octet-stream`.)

    Raises:
        ProblemError: 415 wrong content type or encoding, 400 it does not match its encoding, 408 too slow.
        web.HTTPRequestEntityTooLarge: larger than the limit, as it came or unpacked.
    """
    if request.content_type not in content_types:
        raise ProblemError(
            415,
            "unsupported-media-type",
            f"send 'content-type: {content_types[0]}', not {request.content_type[:100]!r}",
            headers={"Accept": ", ".join(content_types)},
        )
    unpack = _unpacker(request)
    return unpack(await _bytes(request))


def parse(raw: bytes, kind: type[Body]) -> Body:
    """JSON as a model.

    Raises:
        ProblemError: 400 malformed JSON, 422 invalid field, or too many values.
    """
    check_values(raw)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise invalid_fields("body", error) from None
    return _second_look(raw, kind)


async def _bytes(request: web.Request) -> bytes:
    most, length = request.app[SETTINGS].max_body_bytes, request.content_length or 0
    if length > most:  # the rest need not even come
        raise web.HTTPRequestEntityTooLarge(most, length)
    if request.content.is_eof() and request.content.exception() is None:
        raw = request.content.read_nowait()  # for speed: a short body came with the headers
        if len(raw) > most:
            raise web.HTTPRequestEntityTooLarge(most, len(raw))
        return raw
    limit_s = request.app[SETTINGS].body_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            return await _read(request)
    except TimeoutError:
        detail = f"the body did not arrive within {limit_s:g} s"
        raise ProblemError(408, "body-too-slow", detail, headers={"Connection": "close"}) from None


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.RequestPayloadError:
        raise ProblemError(400, "malformed-body", "the body ended early, or is not framed as its headers say") from None


def _unpacker(request: web.Request) -> Callable[[bytes], bytes]:
    """What unpacks the body.

    Raises:
        ProblemError: 415: it is in an encoding that is not accepted.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return lambda raw: raw
    settings = request.app[SETTINGS]
    accepted = {**_WINDOWS, "identity": 0} if settings.accept_encoded_bodies else {"identity": 0}
    if encoding not in accepted:
        raise ProblemError(
            415,
            "unsupported-content-encoding",
            f"send the body as it is, without 'content-encoding: {encoding[:100]}'"
            + (
                ""
                if settings.accept_encoded_bodies
                else " (ACCEPT_ENCODED_BODIES of the gateway allows gzip and deflate)"
            ),
            headers={"Accept-Encoding": ", ".join(accepted)},
        )
    return lambda raw: _unpacked(raw, _WINDOWS[encoding], settings.max_body_bytes)


def _unpacked(raw: bytes, window: int, most: int) -> bytes:
    unpacking = zlib.decompressobj(window)
    try:
        unpacked = unpacking.decompress(raw, most + 1)  # never makes more than that
    except zlib.error:
        raise ProblemError(400, "malformed-body", "the body does not match its content-encoding") from None
    if len(unpacked) > most:
        raise web.HTTPRequestEntityTooLarge(most, len(unpacked))
    if not unpacking.eof or unpacking.unused_data:
        raise ProblemError(
            400, "malformed-body", "the body does not match its content-encoding: it is cut off, or more follows"
        )
    return unpacked


def check_values(raw: bytes) -> None:
    """Refuse a body of too many values: each costs a hundred times its bytes once it is parsed.

    Raises:
        ProblemError: 422.
    """
    if raw.count(b",") <= MOST_VALUES:  # for speed: hardly any body has as many, its texts included
        return
    commas = (found for found in _STRING_OR_COMMA.finditer(raw) if found[0] == b",")
    if next(islice(commas, MOST_VALUES, None), None) is not None:
        raise invalid([(("body",), f"more than {MOST_VALUES} values; send them in several requests")])


def _second_look(raw: bytes, kind: type[Body]) -> Body:
    """Distinguish malformed JSON from JSON whose strings are not valid Unicode: pydantic reports both as malformed."""
    try:
        parsed = json.loads(raw.decode())  # given bytes, it would guess the encoding
    except (ValueError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, json.JSONDecodeError)
            else "it is not UTF-8, is nested too deeply, or has a number with thousands of digits"
        )
        raise ProblemError(400, "malformed-json", f"the body is not valid JSON: {reason}") from None
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        raise invalid_fields("body", error) from None
