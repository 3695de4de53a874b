"""What clients send on purpose or by mistake to hurt: slow bodies, header floods, odd JSON; and that text survives."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.api.request_schemas import PredictRequest
from gateway.http.bodies import _second_look
from gateway.http.problems import ProblemError
from shared.contract.keys import Keys
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, waiters_of


async def raw(client: Client, payload: bytes, timeout_s: float = 10) -> bytes:
    """Send bytes on a connection of their own; the answer is what comes back until it is closed or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(payload)
    try:
        async with asyncio.timeout(timeout_s):
            return await reader.read(65_536)
    finally:
        writer.close()


def head(*headers: str) -> bytes:
    lines = ["POST /api/v1/predict HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_body_that_does_not_arrive_is_408(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(body_timeout_s=0.2)
    answer = await raw(gateway, head("Content-Length: 100") + b'{"model":')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.2 s" in answer
    assert waiters_of(gateway).count == 0


async def test_a_flood_of_headers_is_refused(gateway: Client) -> None:
    many = [f"X-Header-{number}: value" for number in range(20_000)]
    assert (await raw(gateway, head(*many))).split(b"\r\n")[0].endswith(b" 400 Bad Request")
    assert (await raw(gateway, head("X-Long: " + "x" * 100_000))).split(b"\r\n")[0].endswith(b" 400 Bad Request")
    async with gateway.get("/livez") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model":"echo","text":"a","options":{"max_length":' + b"9" * 5000 + b"}}", 400),
        (b'{"model":"echo","text":"a","options":{"max_length":NaN}}', 422),
        (b'{"model":"echo","text":"a","options":{"max_length":Infinity}}', 422),
        (b'{"model":"echo","text":"a","options":{"max_length":1e999}}', 422),
        (b'{"model":"echo","text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"model":"echo","text":"a","text":"b","x":' + b'{"y":' * 150 + b"1" + b"}" * 150 + b"}", 422),
        (b"null", 422),
        (b"", 400),
    ],
)
async def test_odd_json_is_a_clear_error(gateway: Client, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    async with gateway.post("/api/v1/predict", data=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        assert answer.content_type == "application/problem+json"


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batch=st.lists(texts, min_size=1, max_size=20))
async def test_text_survives_byte_for_byte_from_http_to_jsonb_and_back(
    gateway: Client,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database: asyncpg.Connection,
    database_url: str,
    batch: list[str],
) -> None:
    body = {"model": "echo", "texts": batch}
    async with gateway.post(
        "/api/v1/predict/batch", data=orjson.dumps(body), params={"wait": "0"}, headers=JSON
    ) as answer:
        assert answer.status == 202, await answer.text()
        ids = [item["prediction_id"] for item in (await answer.json())["items"]]
    taken = await worker.take(len(batch))
    assert [request.input for _, request in taken] == batch
    await worker.finish(taken)
    await persist_everything(redis, keys, database_url)
    for prediction_id, text in zip(ids, batch, strict=True):
        assert (
            await database.fetchval("SELECT input_data->>'text' FROM predictions WHERE id = $1", prediction_id) == text
        )
        async with gateway.get(f"/api/v1/predictions/{prediction_id}") as answer:
            assert (await answer.json())["input"]["text"] == text


JSON = {"Content-Type": "application/json"}
OWN_HOSTS = [
    "localhost:8000",
    "127.0.0.1",
    "[::1]:8000",
    "10.0.3.4:8000",
    "gateway:8000",
    "api-service.ml.svc:8000",
    "",
]
OTHER_HOSTS = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "x.svc.evil.example"]


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_another_host_is_misdirected(gateway: Client, host: str) -> None:
    for path in ("/health", "/api/v1/models", "/openapi.json"):
        async with gateway.get(path, headers={"Host": host}) as answer:
            body = await answer.json()
            assert (answer.status, body["type"]) == (421, "urn:millstream:problem:unknown-host")
            assert "ALLOWED_HOSTS" in body["detail"]


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_its_own_hosts_are_answered(gateway: Client, host: str) -> None:
    async with gateway.get("/livez", headers={"Host": host}) as answer:
        assert answer.status == 200


async def test_further_hosts_are_named_by_the_setting(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(allowed_hosts="Predict.example.com, other.example")
    for host, status in (("predict.example.com:443", 200), ("other.example", 200), ("evil.example", 421)):
        async with gateway.get("/livez", headers={"Host": host}) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)]
)
async def test_a_page_of_another_site_may_not_write(gateway: Client, site: str, status: int) -> None:
    async with gateway.post("/api/v1/dead-letters/1-1/replay", headers={"Sec-Fetch-Site": site}) as answer:
        assert answer.status == status
    async with gateway.get("/livez", headers={"Sec-Fetch-Site": site}) as answer:
        assert answer.status == 200


async def test_a_misspelt_parameter_is_named(gateway: Client, worker: HandWorker) -> None:
    async with gateway.post("/api/v1/predict", params={"timout": "1"}, json={"model": "echo", "text": "a"}) as answer:
        body = await answer.json()
        assert (answer.status, body["errors"][0]["loc"]) == (422, ["query", "timout"])
        assert "it takes: wait, timeout" in body["detail"] or "it takes: timeout, wait" in body["detail"]


async def test_no_page_is_framed_and_nothing_is_sniffed_or_kept(gateway: Client) -> None:
    for page in ("/", "/docs"):
        async with gateway.get(page, headers={"Accept": "text/html"}) as answer:
            assert answer.status == 200
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    async with gateway.get("/api/v1/predictions/nothing") as answer:
        assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    async with gateway.head("/livez") as answer:
        assert answer.status == 200 and await answer.read() == b""


@given(st.text())
def test_any_json_string_is_taken_or_refused_with_a_sentence(text: str) -> None:
    raw_body = ('{"model":"echo","text":' + _escaped(text) + "}").encode()
    try:
        assert _second_look(raw_body, PredictRequest).text == text
    except ProblemError as error:
        assert error.status == 422
        assert "\0" in text or text == "" or any("\ud800" <= char <= "\udfff" for char in text)


def _escaped(text: str) -> str:
    escaped: Any = "".join(f"\\u{unit:04x}" for char in text for unit in _utf16(char))
    return f'"{escaped}"'


def _utf16(char: str) -> list[int]:
    code = ord(char)
    if code < 0x10000:
        return [code]
    return [0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF)]
