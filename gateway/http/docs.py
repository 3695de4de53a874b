"""GET /docs: Swagger UI from files of this package, without a CDN. It shows what GET /openapi.json answers.

Its files lie under a path that changes whenever one of them does, so browsers may keep them for good.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from aiohttp import web

from gateway.http.assets import FOR_GOOD, File, digest_of, packed, reader
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


def add_docs(app: web.Application, read_document: Handler) -> None:
    """Add the routes of the API documentation.

    Args:
        read_document: answers with the OpenAPI document.
    """
    found = _files()
    folder = f"/docs/{digest_of(found.values())}"
    page = _PAGE.format(folder=folder).encode()
    app.router.add_get("/openapi.json", read_document)
    app.router.add_get("/docs", reader(packed("text/html", page), _POLICY))
    for name, each in found.items():
        app.router.add_get(f"{folder}/{name}", reader(each, FOR_GOOD))


@cache  # unpacking takes a hundredth of a second, and tests make many applications
def _files() -> Mapping[str, File]:
    folder = files("gateway.http").joinpath("swagger_ui")
    kinds = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
    zipped = {name: folder.joinpath(f"{name}.gz").read_bytes() for name in kinds}
    icon = folder.joinpath("favicon-32x32.png").read_bytes()
    return {
        **{name: File(kinds[name], gzip.decompress(each), each) for name, each in zipped.items()},
        "favicon-32x32.png": File("image/png", icon, icon),
        "start.js": packed("text/javascript", _START.encode()),
    }
