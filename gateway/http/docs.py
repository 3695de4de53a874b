"""GET /docs: Swagger UI from files of this package, without a CDN. It shows what GET /openapi.json answers.

Its files lie under a path that changes whenever one of them does, so browsers may keep them for good.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web

from gateway.http.middleware import Handler

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Millstream API</title>
<link rel="stylesheet" href="{folder}/swagger-ui.css">
<link rel="icon" type="image/png" href="{folder}/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/start.js"></script>
</body>
</html>
"""
# Who authorizes on the page sees the models that they may use: the document is read again, with the credentials.
_START = """const readAgain = (original, system) => (payload) => {
  const done = original(payload);
  system.specActions.download();
  return done;
};
let ui;
ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  plugins: [() => ({ statePlugins: { auth: { wrapActions: { authorize: readAgain, logout: readAgain } } } })],
  requestInterceptor: (request) => {
    const credentials = request.loadSpec && ui && ui.authSelectors.authorized().getIn(["bearer", "value"]);
    if (credentials) request.headers.Authorization = `Bearer ${credentials}`;
    return request;
  },
});
"""
_POLICY = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-cache",
}
_FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}


class File(NamedTuple):
    """A file as it is, and packed."""

    content_type: str
    plain: bytes
    packed: bytes


def add_docs(app: web.Application, read_document: Handler) -> None:
    """Add the routes of the API documentation.

    Args:
        read_document: answers with the OpenAPI document.
    """
    found = _files()
    digest = hashlib.sha256(b"".join(each.plain for each in found.values())).hexdigest()
    folder = f"/docs/{digest[:12]}"
    page = _PAGE.format(folder=folder).encode()

    async def read_root(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/docs"})

    app.router.add_get("/", read_root)
    app.router.add_get("/openapi.json", read_document)
    app.router.add_get("/docs", _reader(packed("text/html", page), _POLICY))
    for name, each in found.items():
        app.router.add_get(f"{folder}/{name}", _reader(each, _FOR_GOOD))


def _files() -> dict[str, File]:
    folder = files("gateway.http").joinpath("swagger_ui")
    kinds = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
    zipped = {name: folder.joinpath(f"{name}.gz").read_bytes() for name in kinds}
    icon = folder.joinpath("favicon-32x32.png").read_bytes()
    return {
        **{name: File(kinds[name], gzip.decompress(each), each) for name, each in zipped.items()},
        "favicon-32x32.png": File("image/png", icon, icon),
        "start.js": packed("text/javascript", _START.encode()),
    }


def packed(content_type: str, plain: bytes) -> File:
    """A file with both its forms."""
    return File(content_type, plain, gzip.compress(plain, 6))


def file_response(request: web.Request, file: File, headers: Mapping[str, str], *varies: str) -> web.Response:
    """A file, packed if the client takes that.

    Args:
        varies: the headers that the answer depends on besides.
    """
    everything = {**headers, "Vary": ", ".join(("Accept-Encoding", *varies))}
    takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "").lower()
    if not takes_gzip or len(file.packed) >= len(file.plain):
        return web.Response(body=file.plain, content_type=file.content_type, headers=everything)
    everything["Content-Encoding"] = "gzip"
    return web.Response(body=file.packed, content_type=file.content_type, headers=everything)


def _reader(file: File, headers: Mapping[str, str]) -> Handler:
    async def read_file(request: web.Request) -> web.Response:
        return file_response(request, file, headers)

    return read_file
