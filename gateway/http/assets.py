"""Files that a browser reads, each as it is and packed, so that none is packed for a request."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiohttp import web

from gateway.http.middleware import Handler

FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}  # of a path that changes when the file does


class File(NamedTuple):
    """A file as it is, and packed."""

    content_type: str
    plain: bytes
    packed: bytes


def packed(content_type: str, plain: bytes, level: int = 6) -> File:
    """A file with both its forms."""
    return File(content_type, plain, gzip.compress(plain, level, mtime=0))


def digest_of(files: Iterable[File]) -> str:
    """A name for files that is another whenever one of them is."""
    return hashlib.sha256(b"".join(each.plain for each in files)).hexdigest()[:12]


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


def reader(file: File, headers: Mapping[str, str]) -> Handler:
    """A handler that answers with a file."""

    async def read_file(request: web.Request) -> web.Response:
        return file_response(request, file, headers)

    return read_file
