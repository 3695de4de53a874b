"""GET /openapi.json by model: who sees which, when it changes, and without Redis."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import ClientSession
from openapi_spec_validator import validate
from redis.asyncio import Redis

from gateway.api import documents
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR
from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from shared.contract.schemas import encode_schemas
from shared.streams.workers import Heartbeat
from tests.access import redis_url_of, shard_of
from tests.gateways import Client, StartGateway, application_of
from tests.integration.test_authentication_tokens import RSA, StartWith, start_with
from tests.tokens import by, token

__all__ = ["start_with"]

TREE = {
    "$defs": {
        "Tree": {"type": "object", "properties": {"leaves": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}
    },
    "$ref": "#/$defs/Tree",
}
TOLD = {"input": TREE, "output": {"type": "object"}, "example": {"leaves": [{}]}}
NONE = ["PredictRequest"]
ALL = ["echo.Predict", "echo.V1.0.0.Predict", "noop.Predict", "labels.Predict", *NONE]


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LOOK_EVERY_S", 0)


async def read(gateway: Client, **headers: str) -> tuple[Any, Mapping[str, str]]:
    async with gateway.get("/openapi.json", headers=headers) as answer:
        assert answer.status == 200
        return await answer.json(), answer.headers


def bodies(document: Any, path: str = "/api/v1/predict") -> list[str]:
    """The components of bodies that a path takes."""
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return [each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema])]


async def tell(redis: Redis, keys: Keys) -> None:
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 60)
    await heartbeat.beat(["echo:2.0.0"], schemas=encode_schemas({"echo:2.0.0": TOLD}))


async def test_what_workers_tell_of_models_is_in_the_document(gateway: Client, redis: Redis, keys: Keys) -> None:
    document, headers = await read(gateway)
    assert bodies(document) == ["echo.Predict", "noop.Predict", "labels.Predict", *NONE]
    assert (headers["Cache-Control"], headers["Vary"]) == ("no-cache", "Accept-Encoding")
    await tell(redis, keys)
    document, _ = await read(gateway)
    validate(document)
    assert bodies(document) == ALL
    assert bodies(document, "/api/v1/predict/batch") == [each.replace("Predict", "Batch") for each in ALL[:-1]] + [
        "BatchRequest"
    ]
    schemas = document["components"]["schemas"]
    tree = "#/components/schemas/echo.Input.Tree"
    assert schemas["echo.Input"] == {"$ref": tree}
    assert schemas["echo.Input.Tree"]["properties"]["leaves"]["items"] == {"$ref": tree}
    assert schemas["Prediction"]["properties"]["result"]["anyOf"][0] == {"$ref": "#/components/schemas/echo.Result"}
    examples = document["paths"]["/api/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert examples["echo"]["value"] == {"model": "echo", "input": {"leaves": [{}]}}
    async with ClientSession(auto_decompress=False) as session:
        url = gateway.make_url("/openapi.json")
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert gzip.decompress(await answer.read()) == await (await gateway.get("/openapi.json")).read()


async def test_workers_are_looked_at_now_and_then(
    gateway: Client, redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LOOK_EVERY_S", 60)
    await read(gateway)
    await tell(redis, keys)
    assert len(bodies((await read(gateway))[0])) == 4


async def test_without_redis_the_last_known_is_shown(
    start_gateway: StartGateway, own_redis: RedisServer, keys: Keys
) -> None:
    gateway = await start_gateway(redis_url=redis_url_of("gateway", own_redis.url))
    async with Redis.from_url(own_redis.url) as redis:
        await tell(redis, keys)
    assert bodies((await read(gateway))[0]) == ALL
    own_redis.kill()
    assert bodies((await read(gateway))[0]) == ALL


async def test_before_redis_is_there_the_catalogue_is_shown(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(redis_url="redis://127.0.0.1:1", ready=False)
    assert bodies((await read(gateway))[0]) == ["echo.Predict", "noop.Predict", "labels.Predict", *NONE]


async def test_with_authentication_each_sees_the_models_that_it_may_use(
    start_with: StartWith, redis: Redis, keys: Keys
) -> None:
    gateway = await start_with()
    await tell(redis, keys)
    admin, headers = await read(gateway, **by(token(RSA, scope="admin")))
    assert bodies(admin) == ALL
    assert (headers["Cache-Control"], headers["Vary"]) == ("private, no-cache", "Accept-Encoding, Authorization")
    one, _ = await read(gateway, **by(token(RSA, scope="predict", models=["no*"])))
    assert bodies(one) == ["noop.Predict", *NONE]
    assert not [name for name in one["components"]["schemas"] if name.startswith(("echo", "labels"))]
    for sent in ({}, by("nonsense"), by(token(RSA, scope="predict") + "x"), by(token(RSA, scope=""))):
        document, headers = await read(gateway, **sent)
        assert bodies(document) == NONE and "examples" not in str(
            document["paths"]["/api/v1/predict"]["post"]["requestBody"]
        )
        assert headers["Vary"] == "Accept-Encoding, Authorization"
    assert bodies((await read(gateway, **by(token(RSA, scope="admin"))))[0]) == ALL


async def test_documents_are_kept_for_so_many_kinds_of_callers(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def authenticate(authorization: str | None) -> Principal:
        return Principal("p", frozenset({Scope.PREDICT}), (authorization or "",))

    app = application_of(gateway)
    monkeypatch.setattr(app[AUTHENTICATOR], "authenticate", authenticate)
    monkeypatch.setattr(documents, "MOST_KEPT", 2)
    for _ in range(2):
        for models in ("echo", "noop", "labels", "none"):
            document, _ = await read(gateway, Authorization=models)
            assert bodies(document) == ([] if models == "none" else [f"{models}.Predict"]) + NONE
