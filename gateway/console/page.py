"""GET /: the console, from files of this package. It works without a CDN and without a build step.

Its files lie under a path that changes whenever one of them does, so browsers may keep them for good. The page itself
is asked for each time. It may run nothing but these files, and may talk to nobody but this gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web

from gateway.http.assets import FOR_GOOD, File, digest_of, file_response, packed, reader
from gateway.http.responses import json_response
from shared.service.version import software_version

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE = "index.html"
# Trusted types: even a fault of the page could not make markup, or a script, of a text.
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Console(NamedTuple):
    """The page, and its files by their paths."""

    page: File
    files: Mapping[str, File]


def add_console(app: web.Application) -> None:
    """Add the routes of the console."""
    console = load_console()

    async def read_root(request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            return file_response(request, console.page, _POLICY, "Accept")
        return json_response(_ADDRESSES | {"version": software_version()}, headers={"Vary": "Accept"})

    app.router.add_get("/", read_root)
    for path, each in console.files.items():
        app.router.add_get(path, reader(each, FOR_GOOD))


# What a program that asks for `/` is told.
_ADDRESSES = {
    "service": "millstream",
    "api": "/api/v1/models",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/health",
}


@cache  # packing takes a hundredth of a second, and tests make many applications
def load_console() -> Console:
    """The page and its files, packed as well as gzip can."""
    folder = files("gateway.console").joinpath("static")
    names = sorted(each.name for each in folder.iterdir())
    found = {
        name: packed(_TYPES[suffix], folder.joinpath(name).read_bytes(), 9)
        for name in names
        if (suffix := name[name.rfind(".") :]) in _TYPES
    }
    place = f"/console/{digest_of(found.values())}"
    page = folder.joinpath(_PAGE).read_text(encoding="utf-8").replace("{place}", place)
    return Console(packed("text/html", page.encode(), 9), {f"{place}/{name}": each for name, each in found.items()})
