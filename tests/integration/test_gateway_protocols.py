"""The faces for other protocols' clients: bounds of what they are sent, waiting, who may ask, limits."""

from __future__ import annotations

import asyncio
import base64
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from openai import AsyncOpenAI, InternalServerError
from redis.asyncio import Redis

from gateway.core.errors import Unauthenticated
from gateway.core.order import Answer, Order
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, INTAKE
from shared.contract.catalogue import Catalogue
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from tests.gateways import Client, HandWorker, StartGateway, application_of, succeeded

INFER = "/v2/models/echo/infer"
LENGTH = "Inference-Header-Content-Length"
# One request of each face, which is accepted.
FACES: dict[str, dict[str, Any]] = {
    INFER: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]},
    "/hf/echo": {"inputs": "hello"},
}


async def told(answer: ClientResponse) -> dict[str, Any]:
    """The problem that an answer is, in the form of every dialect."""
    body: dict[str, Any] = await answer.json()
    assert answer.content_type == "application/problem+json" and body["status"] == answer.status, body
    error = body["error"]
    assert (error["message"] if isinstance(error, dict) else error) == body["detail"]
    assert answer.headers["Cache-Control"] == "no-store"
    return body


def binary(behind: bytes, shape: list[int], size: Any = None, **changes: Any) -> tuple[bytes, int]:
    """A body in the binary extension, and how much of it is JSON."""
    tensor: dict[str, Any] = {"name": "text", "shape": shape, "datatype": "BYTES"}
    tensor |= {"parameters": {"binary_data_size": len(behind) if size is None else size}, **changes}
    head = orjson.dumps({"inputs": [tensor]})
    return head + behind, len(head)


ELEMENT = b"\x05\0\0\0hello"


@pytest.mark.parametrize(
    ("behind", "shape", "change", "status", "said"),
    [
        (ELEMENT, [1], {"header": "9999999"}, 400, "must be how many of the body's"),
        (ELEMENT, [1], {"header": "-1"}, 400, "must be how many of the body's"),
        (ELEMENT, [1], {"header": "9" * 4000}, 400, "must be how many of the body's"),
        (ELEMENT, [1], {"header": "10"}, 400, "the body is not valid JSON"),
        (ELEMENT, [1], {"size": 5}, 400, "9 bytes are behind the JSON, and `binary_data_size` is 5"),
        (ELEMENT, [1], {"size": 10**12}, 400, "9 bytes are behind the JSON"),
        (ELEMENT, [1], {"size": -1}, 422, "greater than or equal to 0"),
        (ELEMENT, [1], {"data": ["a"]}, 400, "it needs either `data`, or `binary_data_size`"),
        (ELEMENT, [2], {}, 400, "its bytes end before element 1"),
        (ELEMENT, [10**15], {}, 400, "it must have 1 to 256 elements"),
        (b"\xff\xff\xff\xffhello", [1], {}, 400, "element 0 has 4294967295 bytes, of which 5 are there"),
        (ELEMENT, [1], {"datatype": "FP32"}, 422, "body.inputs.0.datatype"),
        (ELEMENT, [1], {"name": "image"}, 422, "body.inputs.0.name"),
        (ELEMENT, [1], {"type": "text/plain"}, 415, "send 'content-type: application/json'"),
        (b"", [1], {"size": 0}, 400, "its bytes end before element 0"),
    ],
)
async def test_what_is_behind_the_json_is_as_it_says_or_refused(
    gateway: Client, behind: bytes, shape: list[int], change: dict[str, Any], status: int, said: str
) -> None:
    fields = {name: each for name, each in change.items() if name not in ("header", "type", "size")}
    body, length = binary(behind, shape, change.get("size"), **fields)
    headers = {
        LENGTH: change.get("header", str(length)),
        "Content-Type": change.get("type", "application/octet-stream"),
    }
    async with gateway.post(INFER, data=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        assert said in (await told(answer))["detail"]


async def test_a_body_that_unpacks_to_too_much_is_refused(start_gateway: StartGateway) -> None:
    closed = await start_gateway()
    packed = {"Content-Encoding": "gzip", LENGTH: "10"}
    async with closed.post(INFER, data=gzip.compress(b"{}"), headers=packed) as answer:
        assert answer.status == 415 and "ACCEPT_ENCODED_BODIES" in (await told(answer))["detail"]
    gateway = await start_gateway(accept_encoded_bodies=True, max_body_bytes=10_000)
    bomb = gzip.compress(bytes(5_000_000))
    assert len(bomb) < 10_000
    async with gateway.post(INFER, data=bomb, headers=packed) as answer:
        assert answer.status == 413, await told(answer)


async def test_json_in_strings_is_bounded_as_json_is(gateway: Client) -> None:
    tensor = {"name": "input", "shape": [1], "datatype": "BYTES"}
    for text, status, said in (
        (f"[{'0,' * 10_001}0]", 422, "more than 10000 values"),
        ("[" * 500 + "]" * 500, 422, "nested more than 100 levels"),
        ("[" * 5000, 422, "must be JSON, as a string"),
        ("1e999", 422, "body.inputs.0.data.0"),
        ("null", 422, "must not be empty"),
    ):
        async with gateway.post(INFER, json={"inputs": [{**tensor, "data": [text]}]}) as answer:
            body = await told(answer)
            assert answer.status == status and said in body["detail"], (text[:20], body)


@pytest.mark.parametrize("path", FACES)
async def test_what_is_not_finished_in_time_is_a_504_with_the_ids(
    gateway: Client, worker: HandWorker, path: str
) -> None:
    async with gateway.post(f"{path}?wait=0.05", json=FACES[path]) as answer:
        body = await told(answer)
    assert answer.status == 504 and answer.headers["x-should-retry"] == "false"
    ((prediction_id),) = body["prediction_ids"]
    assert await worker.serve_one() == prediction_id, "it goes on"
    async with gateway.get(f"/api/v1/predictions/{prediction_id}") as answer:
        assert (await answer.json())["status"] == "succeeded"
    for wait in ("0", "601", "nan"):
        async with gateway.post(f"{path}?wait={wait}", json=FACES[path]) as answer:
            assert answer.status == 422, await told(answer)


@pytest.mark.parametrize("path", FACES)
async def test_a_request_waits_for_its_answer_and_is_repeated_by_its_key(
    gateway: Client, worker: HandWorker, path: str
) -> None:
    async def ask() -> tuple[int, Any]:
        async with gateway.post(path, json=FACES[path], headers={"Idempotency-Key": "k"}) as answer:
            return answer.status, await answer.json()

    asked = asyncio.create_task(ask())
    await worker.serve_one(succeeded({"label": "GOOD"}))
    first = await asked
    assert first[0] == 200 and "GOOD" in str(first[1])
    assert await ask() == first, "nothing new was published"
    other = FACES[path] | {"parameters": {"labels": "a"}}
    async with gateway.post(path, json=other, headers={"Idempotency-Key": "k"}) as answer:
        assert answer.status == 409 and answer.headers["x-should-retry"] == "false"


async def test_one_that_failed_among_several_is_told_with_all_ids(gateway: Client, worker: HandWorker) -> None:
    body = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]}
    asked = asyncio.create_task(gateway.post(INFER, json=body))
    good, bad = await worker.take(2)
    await worker.finish([good])
    await worker.finish([bad], Outcome(Status.FAILED, error="ValueError: no"))
    answer = await asked
    problem = await told(answer)
    assert (answer.status, answer.headers["x-should-retry"], problem["detail"]) == (500, "false", "ValueError: no")
    assert problem["prediction_ids"] == [good[1].id, bad[1].id] and problem["prediction_id"] == bad[1].id


PRINCIPALS = {
    "Bearer ann": Principal(principal_id("test", "ann"), frozenset({Scope.PREDICT})),
    "Bearer reader": Principal(principal_id("test", "reader"), frozenset({Scope.READ}), models=("noop",)),
    "Bearer noop": Principal(principal_id("test", "noop"), frozenset({Scope.PREDICT}), models=("noop",)),
}


async def authenticate(authorization: str | None) -> Principal:
    if authorization is None:
        raise Unauthenticated("say who you are", "")
    return PRINCIPALS[authorization]


async def test_who_asks_is_known_and_sees_its_own_models_alone(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    embeddings = {"model": "echo", "input": "a"}
    for path, body in {**FACES, "/v1/embeddings": embeddings, "/hf/echo/embed": {"inputs": "a"}}.items():
        for name, status in (("", 401), ("Bearer reader", 403), ("Bearer noop", 404)):
            async with gateway.post(path, json=body, headers={"Authorization": name} if name else {}) as answer:
                problem = await told(answer)
                assert answer.status == status, problem
                assert status != 404 or problem["detail"] == "there is no model 'echo'; there are: noop"
    for path in ("/v2/models/echo", "/v2/models/echo/ready", "/v1/models/echo", "/hf/echo/info", "/hf/echo/health"):
        for name, status in (("", 401), ("Bearer reader", 404)):
            async with gateway.get(path, headers={"Authorization": name} if name else {}) as answer:
                assert answer.status == status, await told(answer)
    async with gateway.get("/v1/models", headers={"Authorization": "Bearer reader"}) as answer:
        assert [each["id"] for each in (await answer.json())["data"]] == ["noop"]
    async with gateway.get("/v1/nothing", headers={"Authorization": "Bearer reader"}) as answer:
        assert answer.status == 404 and (await told(answer))["error"]["type"] == "invalid_request_error"


async def test_limits_are_counted_and_told(
    start_gateway: StartGateway, worker: HandWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "limits.toml").write_text("[profiles.default]\nrequests = {quota = 2, window_s = 3600}\n")
    gateway = await start_gateway(limit_profiles=tmp_path / "limits.toml")
    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    ann = {"Authorization": "Bearer ann"}
    for path, body in FACES.items():
        asked = asyncio.create_task(gateway.post(path, json=body, headers=ann))
        await worker.serve_one()
        answer = await asked
        assert answer.status == 200 and '"requests";r=' in answer.headers["RateLimit"]
    async with gateway.post(INFER, json=FACES[INFER], headers=ann) as answer:
        assert answer.status == 429 and answer.headers["Retry-After"] and await told(answer)


async def test_a_model_that_nobody_serves_is_not_ready(gateway: Client) -> None:
    async with gateway.get("/v2/models/echo/ready") as answer:
        assert (answer.status, await answer.json()) == (503, {"name": "echo", "ready": False})
    async with gateway.get("/hf/echo@2.0.0/health") as answer:
        assert answer.status == 503 and (await told(answer))["error_type"] == "Unhealthy"
    async with gateway.get("/v2/health/ready") as answer:
        assert (answer.status, await answer.json()) == (200, {"ready": True})
    for path in ("/hf/echo@9/health", "/v2/models/echo/versions/9/ready", "/v1/models/echo@9"):
        async with gateway.get(path) as answer:
            assert answer.status == 404 and "it has: 1.0.0, 2.0.0" in (await told(answer))["detail"]


class _OtherTask:
    """With a model of another task."""

    TASK = ""

    @pytest.fixture
    def catalogue(self, catalogue: Catalogue) -> Catalogue:
        """The fixture models, of which one has another task."""
        models = [
            each.model_copy(update={"task": self.TASK}) if each.name == "labels" else each for each in catalogue.models
        ]
        return catalogue.model_copy(update={"models": tuple(models)})

    @pytest.fixture
    def worker(self, redis: Redis, keys: Keys) -> HandWorker:
        """A worker for that model."""
        return HandWorker(redis, keys, "labels", "1.0.0")


class TestEmbeddings(_OtherTask):
    """With a model that embeds."""

    TASK = "feature-extraction"

    async def test_openais_client_does_not_send_again_what_failed(self, gateway: Client, worker: HandWorker) -> None:
        client = AsyncOpenAI(base_url=str(gateway.make_url("/v1")), api_key="none")
        asked = asyncio.create_task(client.embeddings.create(model="labels", input="a"))
        await worker.serve_one(Outcome(Status.FAILED, error="ValueError: no"))
        with pytest.raises(InternalServerError, match="ValueError: no"):
            await asked
        with pytest.raises(InternalServerError, match="not finished"):
            await client.embeddings.create(model="labels", input="a", extra_query={"wait": "0.05"})
        assert len(await worker.take()) == 1, "one request, which was not sent again"
        await client.close()

    async def test_a_user_of_openais_is_whom_an_experiment_treats_alike(
        self, gateway: Client, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orders: list[Order] = []
        intake = application_of(gateway)[INTAKE]
        submit = intake.submit

        async def noted(order: Order, on_accepted: Any) -> list[Answer]:
            orders.append(order)
            return await submit(order, on_accepted)

        monkeypatch.setattr(intake, "submit", noted)
        body = {"model": "labels@1.0.0", "input": "a", "user": "u1", "dimensions": 2, "encoding_format": "base64"}
        asked = asyncio.create_task(gateway.post("/v1/embeddings", json=body))
        await worker.serve_one(succeeded({"embedding": [0.5, -2.0]}, None))
        answer = await (await asked).json()
        assert answer["data"] == [{"object": "embedding", "index": 0, "embedding": "AAAAPwAAAMA="}]
        ((order),) = orders
        assert (order.subject, order.version, order.options, order.wait_s) == ("u1", "1.0.0", {"dimensions": 2}, 600)


class TestImages(_OtherTask):
    """With a model of images."""

    TASK = "image-classification"

    async def test_an_image_may_be_sent_as_it_is(self, gateway: Client, worker: HandWorker) -> None:
        image = b"\x89PNG\r\n"
        headers = {"Content-Type": "image/png"}
        asked = asyncio.create_task(gateway.post("/hf/labels", data=image, headers=headers))
        ((delivery, request),) = await worker.take()
        assert request.input == base64.b64encode(image).decode()
        await worker.finish([(delivery, request)], succeeded({"label": "cat", "scores": {"dog": 0.1, "cat": 0.9}}))
        assert await (await asked).json() == [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]
        async with gateway.post("/hf/echo", data=image, headers=headers) as answer:
            assert answer.status == 415 and await told(answer)
