"""A server that speaks as much of S3 as is needed to read a bucket, with the faults of real ones.

It looks at which key a request is signed with, not at the signature: `make test` reaches no store, and what signs is
the client's library.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

BUCKET, KEY, SECRET = "models", "tests", "tests-secret"
_SIGNED_BY = re.compile(r"Credential=([^/]+)/")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Bucket:
    """A bucket and what is wrong with it.

    Attributes:
        url: of the server.
        objects: by key.
        cut: keys whose answers end after so many bytes, with the connection.
        pause_s: before each answer's body.
        refused: a code of S3 that all is answered with, with its status.
        denied: the beginnings of keys that may not be read.
        asked: method, key and range of each request.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    pause_s: float = 0
    refused: tuple[int, str] | None = None
    denied: tuple[str, ...] = ()
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """What a worker has to know to read it."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def put(self, directory: Path, prefix: str) -> str:
        """Put the files of a directory there as the docs say; returns the address."""
        files = {
            each.relative_to(directory).as_posix(): each.read_bytes() for each in directory.rglob("*") if each.is_file()
        }
        return self.put_files(files, prefix)

    def put_files(self, files: dict[str, bytes], prefix: str) -> str:
        """Put files there, with their `SHA256SUMS`; returns the address."""
        sums = "".join(f"{_sha256(content)}  ./{name}\n" for name, content in files.items()).encode()
        self.objects |= {f"{prefix}/{name}": content for name, content in files.items()}
        self.objects[f"{prefix}/SHA256SUMS"] = sums
        return f"s3://{BUCKET}/{prefix}@sha256:{_sha256(sums)}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        key, wanted = request.match_info["key"], request.headers.get("Range", "")
        self.asked.append((request.method, key, wanted))
        signed = _SIGNED_BY.search(request.headers.get("Authorization", ""))
        if self.refused is not None:
            return _refusal(*self.refused)
        if signed is None or signed[1] != KEY:
            return _refusal(403, "InvalidAccessKeyId")
        if request.match_info["bucket"] != BUCKET:
            return _refusal(404, "NoSuchBucket")
        if key.startswith(self.denied):
            return _refusal(403, "AccessDenied")
        if key not in self.objects:
            return _refusal(404, "NoSuchKey")
        return await self._send(request, key, wanted)

    async def _send(self, request: web.Request, key: str, wanted: str) -> web.StreamResponse:
        whole = self.objects[key]
        start, end = _span(wanted, len(whole))
        if wanted and start >= len(whole):
            return _refusal(416, "InvalidRange")
        body = whole[start:end]
        headers = {"ETag": f'"{hashlib.md5(whole, usedforsecurity=False).hexdigest()}"', "Accept-Ranges": "bytes"}
        headers |= {"Last-Modified": "Sat, 28 Nov 2026 00:00:00 GMT", "Content-Length": str(len(body))}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(whole)}"
        response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await asyncio.sleep(self.pause_s)
        if key in self.cut and request.transport is not None:
            await response.write(body[: self.cut[key]])
            request.transport.abort()
        else:
            with suppress(ConnectionError):  # who asked may have gone
                await response.write(body)
        return response


@asynccontextmanager
async def serving(bucket: Bucket | None = None) -> AsyncIterator[Bucket]:
    """A bucket, served on this machine: a new one, or one that was served before, at its former address."""
    bucket = bucket or Bucket()
    app = web.Application()
    app.router.add_route("*", "/{bucket}/{key:.*}", bucket.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = int(bucket.url.rpartition(":")[2] or 0)
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    address: Any = runner.addresses[0]
    bucket.url = f"http://127.0.0.1:{address[1]}"
    try:
        yield bucket
    finally:
        await runner.cleanup()


def _span(wanted: str, size: int) -> tuple[int, int]:
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return 0, size
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _refusal(status: int, code: str) -> web.Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return web.Response(status=status, text=body, content_type="application/xml")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
