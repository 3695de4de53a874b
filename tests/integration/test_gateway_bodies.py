"""What a request body can cost a gateway: little, whatever stands in it."""

from __future__ import annotations

import gzip
import io
import resource
import time
import zlib
from functools import cache
from typing import Any

import orjson
import pytest

from tests.gateways import Client, StartGateway

BODY = orjson.dumps({"model": "echo", "text": "hello"})
MEGABYTES_2 = 2_000_000
HOSTILE = {
    "empty strings": (b'{"model":"echo","texts":[' + b'"",' * 660_000 + b'""]}', "/api/v1/predict/batch"),
    "short texts": (b'{"model":"echo","texts":[' + b'"a",' * 490_000 + b'"a"]}', "/api/v1/predict/batch"),
    "unknown fields": (
        b"{" + b",".join(b'"%d":0' % number for number in range(190_000)) + b"}",
        "/api/v1/predict",
    ),
    "options": (
        b'{"model":"echo","text":"a","options":{"labels":[' + b"0," * 900_000 + b"0]}}",
        "/api/v1/predict",
    ),
    "quotes without end": (b'{"model":"echo","text":"' + b'\\",' * 600_000, "/api/v1/predict"),
    "nested": (b"[" * 1_900_000, "/api/v1/predict"),
    "a long number": (b'{"model":"echo","text":' + b"1" * 1_900_000 + b"}", "/api/v1/predict"),
}


@cache
def bomb(megabytes: int) -> bytes:
    """A body in gzip that unpacks to blanks, a thousand times as long."""
    packing = zlib.compressobj(wbits=31)
    return b"".join([*(packing.compress(b" " * 1_000_000) for _ in range(megabytes)), packing.flush()])


async def post(client: Client, body: bytes, path: str = "/api/v1/predict", **headers: str) -> tuple[int, Any]:
    """Send a body as it is."""
    everything = {"Content-Type": "application/json", **headers}
    async with client.post(path, data=io.BytesIO(body), headers=everything, params={"wait": "0"}) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_body_is_refused_for_little(gateway: Client, name: str) -> None:
    body, path = HOSTILE[name]
    assert len(body) <= MEGABYTES_2
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    status, said = await post(gateway, body, path)
    cpu_s = time.process_time() - began
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1000
    assert status in (400, 422), said
    assert len(said.get("errors", ())) <= 20 and len(said["detail"]) <= 2000
    assert (cpu_s < 0.5, grown_mb < 100) == (True, True), (cpu_s, grown_mb)


async def test_commas_in_a_text_are_no_values(gateway: Client) -> None:
    body = {"model": "echo", "texts": [',\\",' * 3_000 for _ in range(50)]}
    assert (await post(gateway, orjson.dumps(body), "/api/v1/predict/batch"))[0] == 202


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "x" * 1000])
async def test_an_encoded_body_is_refused_unread(gateway: Client, encoding: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, said = await post(gateway, bomb(1000), **{"Content-Encoding": encoding})
    assert (status, said["type"]) == (415, "urn:millstream:problem:unsupported-content-encoding")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_an_encoded_body_is_unpacked_where_that_is_allowed(
    start_gateway: StartGateway, encoding: str, pack: Any
) -> None:
    gateway = await start_gateway(accept_encoded_bodies=True)
    assert (await post(gateway, pack(BODY), **{"Content-Encoding": encoding}))[0] == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bomb(100), 413),
        (gzip.compress(BODY)[:-5], 400),
        (gzip.compress(BODY) + b"more", 400),
        (BODY, 400),
        (b"", 400),
    ],
    ids=["bomb", "cut off", "followed", "not packed", "empty"],
)
async def test_what_does_not_unpack_is_refused(start_gateway: StartGateway, body: bytes, status: int) -> None:
    gateway = await start_gateway(accept_encoded_bodies=True)
    began = time.process_time()
    assert (await post(gateway, body, **{"Content-Encoding": "gzip"}))[0] == status
    assert time.process_time() - began < 0.5


async def test_another_encoding_is_refused_there_too(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(accept_encoded_bodies=True)
    assert (await post(gateway, BODY, **{"Content-Encoding": "br"}))[0] == 415
