"""Responses that are not errors, and the headers of all."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web

# The server's own name hides the names and versions of what runs.
SAFE_HEADERS = {"Server": "millstream", "X-Content-Type-Options": "nosniff"}


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
