"""Reading request bodies: JSON that fits a model, or an error that says why it does not."""

from __future__ import annotations

import asyncio
import json
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.http.context import SETTINGS
from gateway.http.problems import ProblemError, invalid_fields

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: web.Request, kind: type[Body]) -> Body:
    """The request body as a model.

    Raises:
        ProblemError: 415 wrong content type, 400 malformed JSON, 408 too slow, 422 invalid field.
        web.HTTPRequestEntityTooLarge: larger than the limit.
    """
    if request.content_type != "application/json":
        raise ProblemError(
            415,
            "unsupported-media-type",
            f"send 'content-type: application/json', not {request.content_type!r}",
            headers={"Accept": "application/json"},
        )
    raw = await _bytes(request)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise invalid_fields("body", error) from None
    return _second_look(raw, kind)


async def _bytes(request: web.Request) -> bytes:
    if request.content.is_eof():  # for speed: a short body came with the headers and needs no timeout
        return await _read(request)
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
        raise ProblemError(400, "malformed-body", "the body does not match its content-encoding") from None


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
