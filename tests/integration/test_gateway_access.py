"""Who may do what: scopes, one's own predictions, and the models that a principal may use."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.app import EVERY_OPERATION
from gateway.core.errors import Unauthenticated
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, RUNNING
from gateway.http.openapi import Operation
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.contract.queues import Priority, Queue
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything, store
from tests.waiting import eventually

OPEN_PATHS = ("/", "/docs", "/openapi.json", "/health", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
BODY = {"model": "echo", "text": "hello"}
PRINCIPALS = {
    "ann": Principal(principal_id("test", "ann"), frozenset({Scope.PREDICT, Scope.READ})),
    "bob": Principal(principal_id("test", "bob"), frozenset({Scope.PREDICT, Scope.READ})),
    "auditor": Principal(principal_id("test", "auditor"), frozenset({Scope.READ_ALL})),
    "noop-auditor": Principal(principal_id("test", "noop"), frozenset({Scope.READ_ALL}), models=("noop*", "other")),
    "echo-auditor": Principal(principal_id("test", "echo"), frozenset({Scope.READ_ALL}), models=("ec*",)),
    "noop-user": Principal(principal_id("test", "noop-user"), frozenset({Scope.PREDICT}), models=("no?p",)),
    "admin": Principal(principal_id("test", "admin"), frozenset({Scope.ADMIN})),
    "noop-admin": Principal(principal_id("test", "noop-admin"), frozenset({Scope.ADMIN}), models=("noop",)),
}


class ByName:
    """An authenticator that believes whatever name it is told."""

    async def authenticate(self, authorization: str | None) -> Principal:
        if authorization is None:
            raise Unauthenticated("say who you are", "")
        return PRINCIPALS[authorization]


@pytest.fixture
async def gateway(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> Client:
    client = await start_gateway()
    monkeypatch.setattr(application_of(client)[AUTHENTICATOR], "authenticate", ByName().authenticate)
    return client


def by(name: str) -> dict[str, str]:
    return {"Authorization": name}


async def submit(gateway: Client, name: str, **body: str) -> str:
    async with gateway.post("/api/v1/predict", json=BODY | body, params={"wait": "0"}, headers=by(name)) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["prediction_id"])


async def status_of(gateway: Client, name: str, path: str, method: str = "GET") -> int:
    async with gateway.request(method, path, headers=by(name)) as answer:
        return answer.status


async def listed(gateway: Client, name: str, **query: str) -> list[str]:
    async with gateway.get("/api/v1/predictions", params=query, headers=by(name)) as answer:
        assert answer.status == 200, await answer.text()
        return [each["prediction_id"] for each in (await answer.json())["items"]]


async def read_secrets(_: web.Request) -> web.Response:
    return web.Response()


def path_of(route: web.AbstractRoute) -> str:
    return route.resource.canonical if route.resource else ""


def unguarded(application: web.Application) -> list[str]:
    """Paths whose handler is one of no operation with scopes."""
    known = {(each.method, each.path) for each in EVERY_OPERATION if each.scopes}
    known |= {("HEAD", path) for method, path in known if method == "GET"}
    return [path_of(each) for each in application.router.routes() if (each.method, path_of(each)) not in known]


async def test_every_path_that_is_open_to_all_is_known(gateway: Client) -> None:
    application = application_of(gateway)
    assert {path for path in unguarded(application) if not path.startswith(("/docs/", "/console/"))} == set(OPEN_PATHS)


def test_an_operation_that_nobody_declared_is_found() -> None:
    application = web.Application()
    application.router.add_get("/api/v1/secrets", read_secrets)
    assert unguarded(application) == ["/api/v1/secrets", "/api/v1/secrets"]


@pytest.mark.parametrize(
    "operation", [each for each in EVERY_OPERATION if each.scopes], ids=lambda each: each.handler.__name__
)
async def test_each_operation_lets_those_in_who_have_its_scope_and_nobody_else(
    gateway: Client, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    values = {"{prediction_id}": "0", "{dead_letter_id}": "0-1", "{name}": "echo", "{erasure_id}": "0"}
    values |= {"{key_id}": "a" * 16, "{version}": "2.0.0"}
    path = operation.path
    for name, value in values.items():
        path = path.replace(name, value)
    for scope in Scope:
        monkeypatch.setitem(PRINCIPALS, "somebody", Principal(principal_id("test", "x"), frozenset({scope})))
        async with gateway.request(operation.method, path, headers=by("somebody")) as answer:
            expected = scope in operation.scopes or (scope is Scope.READ_ALL and Scope.READ in operation.scopes)
            assert (answer.status != 403) == expected, (scope, await answer.text())
            if not expected:
                challenge = answer.headers["WWW-Authenticate"]
                assert challenge == f'Bearer error="insufficient_scope", scope="{" ".join(operation.scopes)}"'
    async with gateway.request(operation.method, path) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_queued_a_finished_a_stored_and_an_unknown_prediction_of_another_are_the_same_404(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    prediction_id = await submit(gateway, "ann")
    path = f"/api/v1/predictions/{prediction_id}"

    async def only_hers() -> None:
        assert [await status_of(gateway, each, path) for each in ("ann", "auditor", "echo-auditor")] == [200] * 3
        assert [await status_of(gateway, each, path) for each in ("bob", "noop-auditor")] == [404] * 2
        assert await status_of(gateway, "bob", f"{path}?wait=0.1") == 404
        async with gateway.get(path, headers=by("bob")) as answer:
            hers = await answer.json()
        unknown = f"{prediction_id[:-1]}{'0' if prediction_id[-1] != '0' else '1'}"
        async with gateway.get(f"/api/v1/predictions/{unknown}", headers=by("bob")) as answer:
            assert (await answer.json())["detail"].replace(unknown, prediction_id) == hers["detail"]

    await only_hers()
    await worker.serve_one()
    await only_hers()
    await persist_everything(redis, keys, database_url)
    await only_hers()


async def test_a_wait_for_the_prediction_of_another_does_not_wait(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await submit(gateway, "ann")
    assert await status_of(gateway, "bob", f"/api/v1/predictions/{prediction_id}?wait=60") == 404


async def test_a_replayed_prediction_is_still_its_owners_alone(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await submit(gateway, "ann")
    ((delivery, _),) = await worker.take()
    await worker.stream.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "it kills its workers")
    async with gateway.get("/api/v1/dead-letters", headers=by("admin")) as answer:
        ((letter),) = (await answer.json())["items"]
    path = f"/api/v1/predictions/{prediction_id}"
    assert [await status_of(gateway, each, path) for each in ("ann", "bob")] == [200, 404]
    replay = f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay"
    assert await status_of(gateway, "admin", replay, "POST") == 202
    assert [await status_of(gateway, each, path) for each in ("ann", "bob")] == [200, 404]


async def test_a_dead_letter_of_a_model_that_an_administrator_may_not_use_is_not_there(
    gateway: Client, worker: HandWorker
) -> None:
    await submit(gateway, "ann")
    ((delivery, _),) = await worker.take()
    await worker.stream.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "it kills its workers")
    async with gateway.get("/api/v1/dead-letters", headers=by("noop-admin")) as answer:
        assert (await answer.json())["items"] == []
    async with gateway.get("/api/v1/dead-letters", headers=by("admin")) as answer:
        ((letter),) = (await answer.json())["items"]
    path = f"/api/v1/dead-letters/{letter['dead_letter_id']}"
    assert await status_of(gateway, "noop-admin", f"{path}/replay", "POST") == 404
    assert await status_of(gateway, "noop-admin", path, "DELETE") == 404
    assert await status_of(gateway, "admin", path, "DELETE") == 204


async def test_a_list_holds_what_the_caller_may_read(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    (before_there_were_names,) = await store(database, 1, "noop", "1.0.0")
    hers, his = await submit(gateway, "ann"), await submit(gateway, "bob")
    await worker.finish(await worker.take(2))
    await persist_everything(redis, keys, database_url)
    for query in ({}, {"model": "echo"}, {"status": "succeeded"}):
        assert await listed(gateway, "ann", **query) == [hers]
        assert await listed(gateway, "bob", **query) == [his]
    assert await listed(gateway, "ann", model="noop") == []
    assert await listed(gateway, "auditor") == [his, hers, before_there_were_names]
    assert await listed(gateway, "echo-auditor") == [his, hers]
    assert await listed(gateway, "noop-auditor") == [before_there_were_names]
    assert await status_of(gateway, "noop-auditor", "/api/v1/predictions?model=echo") == 404


async def test_a_model_that_the_caller_may_not_use_is_not_there(gateway: Client) -> None:
    async with gateway.post("/api/v1/predict", json=BODY, headers=by("noop-user")) as answer:
        assert answer.status == 404
        assert (await answer.json())["detail"] == "there is no model 'echo'; there are: noop"
    async with gateway.get("/api/v1/models", headers=by("noop-user")) as answer:
        assert [each["name"] for each in (await answer.json())["items"]] == ["noop"]
    assert await status_of(gateway, "noop-user", "/api/v1/models/echo") == 404
    assert await status_of(gateway, "noop-user", "/api/v1/models/noop") == 200


async def test_the_same_idempotency_key_of_two_callers_is_two_keys(gateway: Client) -> None:
    async def submitted(name: str, text: str) -> str:
        headers = by(name) | {"Idempotency-Key": "k"}
        body = BODY | {"text": text}
        async with gateway.post("/api/v1/predict", json=body, params={"wait": "0"}, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["prediction_id"])

    hers = await submitted("ann", "hello")
    assert await submitted("bob", "hello") != hers
    assert await submitted("bob", "hello") != hers
    assert await submitted("ann", "hello") == hers


async def test_health_tells_details_to_administrators_alone(gateway: Client) -> None:
    details = {"reasons", "warnings", "unserved", "waiting_for_memory", "load_errors", "orphans"}
    async with gateway.get("/health", headers=by("admin")) as answer:
        assert details < set(await answer.json())
    for headers in ({}, by("ann")):
        async with gateway.get("/health", headers=headers) as answer:
            assert set(await answer.json()) == {"status", "redis", "postgres"}


async def test_only_the_id_of_who_asks_is_kept(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    prediction_id = await submit(gateway, "ann")
    owner = PRINCIPALS["ann"].id
    assert await redis.hget(keys.prediction(prediction_id), "principal") == owner.encode()
    await worker.serve_one()
    await persist_everything(redis, keys, database_url)
    assert await database.fetchval("SELECT principal FROM predictions") == owner


async def test_feedback_is_given_by_who_asked_and_nobody_else(gateway: Client, database: asyncpg.Connection) -> None:
    path = f"/api/v1/predictions/{await submit(gateway, 'ann')}/feedback"
    for name, status in (("bob", 404), ("auditor", 404), ("ann", 204)):
        async with gateway.post(path, json={"correct": True}, headers=by(name)) as answer:
            assert answer.status == status, name
    assert await database.fetchval("SELECT principal FROM feedback") == PRINCIPALS["ann"].id


async def test_a_caller_is_the_subject_and_the_copy_for_a_shadow_belongs_to_nobody(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    body = {"arms": [{"version": "2.0.0"}], "shadow": {"version": "1.0.0", "share": 1}}
    async with gateway.put("/api/v1/models/echo/experiment", json=body, headers=by("admin")) as answer:
        assert answer.status == 200, await answer.text()
    for path in ("", "/results"):
        assert await status_of(gateway, "noop-admin", f"/api/v1/models/echo/experiment{path}") == 404
    await submit(gateway, "ann")
    await eventually(lambda: not application_of(gateway)[RUNNING]._shadowing._under_way, "the copy is published")
    queues = Queue("echo", "2.0.0"), Queue("echo", "1.0.0", Priority.BATCH)
    waiting: list[Any] = [await redis.xrange(keys.requests(*queue)) for queue in queues]
    ((_, original),), ((_, copy),) = waiting
    assert original[b"subject_id"] == copy[b"subject_id"] == PRINCIPALS["ann"].id.encode()
    path = f"/api/v1/predictions/{copy[b'id'].decode()}"
    assert [await status_of(gateway, name, path) for name in ("ann", "bob", "auditor")] == [404, 404, 200]
