"""Reading request bodies: JSON of a known shape, or an error that says what is wrong with it."""

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
    """The request's body as a model.

    Raises:
        ProblemError: 415 not JSON by its content type, 400 malformed JSON, 408 too slow, 422 an invalid field.
        web.HTTPRequestEntityTooLarge: longer than the limit.
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
    if request.content.is_eof():  # it came with the headers, as short ones do: nothing to wait for
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
        raise ProblemError(400, "malformed-body", "the body is not what its content-encoding says") from None


def _second_look(raw: bytes, kind: type[Body]) -> Body:
    """Tell malformed JSON from JSON whose strings are not Unicode, which the first parser refuses alike."""
    try:
        parsed = json.loads(raw.decode())  # of bytes it would guess the encoding; JSON has one
    except (ValueError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, json.JSONDecodeError)
            else "it is not UTF-8, nested too deeply, or has a number of thousands of digits"
        )
        raise ProblemError(400, "malformed-json", f"the body is not valid JSON: {reason}") from None
    try:
        return kind.model_validate(parsed)
    except ValidationError as error:
        raise invalid_fields("body", error) from None
