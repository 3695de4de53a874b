"""Responses that are not errors."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
