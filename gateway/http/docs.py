"""GET /openapi.json and /docs: Swagger UI, served from an installed package, without a CDN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web
from openapi_ui_bundles import swagger_ui

from gateway.http.openapi import Operation, openapi

_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Millstream API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
_POLICY = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


def add_docs(
    app: web.Application,
    operations: Sequence[Operation],
    version: str,
    schemas: Mapping[str, dict[str, Any]],
    maxima: Mapping[str, float],
) -> None:
    """Add the routes of the API documentation; for `schemas` and `maxima` see `openapi`."""
    document = orjson.dumps(openapi(operations, version, schemas, maxima))

    async def read_openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def read_page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html", headers=_POLICY)

    async def read_start(_: web.Request) -> web.Response:
        return web.Response(text=_START, content_type="text/javascript")

    async def read_root(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/docs"})

    app.router.add_get("/", read_root)
    app.router.add_get("/openapi.json", read_openapi)
    app.router.add_get("/docs", read_page)
    app.router.add_get("/docs/start.js", read_start)
    for name in _FILES:
        app.router.add_get(f"/docs/{name}", _file(name))


def _file(name: str) -> Any:
    path = swagger_ui.static_path / name

    async def read_file(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return read_file
