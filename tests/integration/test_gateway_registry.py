"""Models by API: two gateways on one Redis and one Postgres, and workers by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.control.registry import administration
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, CATALOGUE
from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from shared.contract.registry import Registry, says_of
from shared.contract.schemas import encode_schemas
from shared.contract.version_states import State, VersionState, encode_states
from shared.streams.model_registry import ModelRegistry
from shared.streams.workers import Heartbeat
from tests.access import shard_of
from tests.gateways import Client, HandWorker, StartGateway, application_of
from tests.waiting import eventually

MODEL = "/api/v1/models/labels"
VERSIONS = f"{MODEL}/versions"
COMMIT = "714eb0fa89d2f80546fda750413ed43d93601a13"
TEXT = {"model": "labels", "text": "hello", "options": {"labels": ["a", "b"]}}

Start = Callable[..., Awaitable[Client]]


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A root with the artifacts `new` and `other`."""
    for name in ("new", "other"):
        (tmp_path / "roots" / name).mkdir(parents=True)
        (tmp_path / "roots" / name / "config.json").write_text(name, encoding="utf-8")
    return tmp_path / "roots"


@pytest.fixture
def start(start_gateway: StartGateway, roots: Path) -> Start:
    """Start a gateway that may register."""

    async def start(**changes: Any) -> Client:
        return await start_gateway(**{"model_roots": str(roots), "hub_owners": "distilbert, other", **changes})

    return start


@pytest.fixture
async def gateway(start: Start) -> Client:
    return await start()


async def call(
    gateway: Client, method: str, path: str, body: object = None, status: int = 200, if_match: str | None = None
) -> Any:
    """Make a call that is answered with that status; returns its JSON with its ETag."""
    headers = {} if if_match is None else {"If-Match": if_match}
    async with gateway.request(method, path, json=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        found = {} if status == 204 else await answer.json()
        return found | ({"etag": answer.headers["ETag"]} if "ETag" in answer.headers else {})


async def register(
    gateway: Client, version: str = "2.0.0", status: int = 201, artifact: str = "new", **more: Any
) -> Any:
    return await call(gateway, "POST", VERSIONS, {"version": version, "artifact": artifact, **more}, status)


async def act(gateway: Client, action: str, version: str = "2.0.0", status: int = 200) -> Any:
    return await call(gateway, "POST", f"{VERSIONS}/{version}/{action}", None, status)


async def make_default(gateway: Client, version: str, status: int = 200, if_match: str = "*") -> Any:
    return await call(gateway, "PUT", f"{MODEL}/default", {"version": version}, status, if_match)


async def serve(redis: Redis, keys: Keys, *versions: str) -> None:
    """A worker that is live, and says that it serves these versions."""
    for version in versions:
        await HandWorker(redis, keys, "labels", version).stream.join()
    labels = [f"labels:{version}" for version in versions]
    states = {label: VersionState(State.READY) for label in labels}
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 60).beat(labels, states=encode_states(states))


async def version_of_a_request(gateway: Client, status: int = 202, **body: str) -> str:
    """Which version's stream a request goes to."""
    async with gateway.post("/api/v1/predict?wait=0", json=TEXT | body) as answer:
        assert answer.status == status, await answer.text()
    return ""


def state_of(model: Any, version: str) -> tuple[bool, bool]:
    (found,) = [each for each in model["versions"] if each["version"] == version]
    return found["is_active"], found["is_default"]


async def follows(gateway: Client, version: str, state: tuple[bool, bool]) -> None:
    """Wait until a gateway knows a version in this state."""

    async def known() -> bool:
        model = await call(gateway, "GET", MODEL)
        return any(each["version"] == version for each in model["versions"]) and state_of(model, version) == state

    await eventually(known, f"{version} is {state}")


async def test_a_model_says_what_it_takes_and_gives(gateway: Client, redis: Redis, keys: Keys) -> None:
    async def said(model: str) -> Any:
        return (await call(gateway, "GET", f"/api/v1/models/{model}"))["versions"][0]["schemas"]

    labels = await said("labels")
    assert labels["input"] == {"type": "string", "minLength": 1} and "labels" in labels["options"]["properties"]
    assert await said("echo") == {}, "nobody serves it"
    told = {"input": {"type": "object"}, "example": {"petals": [1]}}
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 60)
    await heartbeat.beat(["echo:1.0.0"], schemas=encode_schemas({"echo:1.0.0": told, "labels:1.0.0": {}}))
    assert await said("echo") == told and await said("labels") == labels
    await heartbeat.beat(["echo:1.0.0"], schemas=b"[1]")
    assert await said("echo") == {}


# --- the way of a version -----------------------------------------------------------------------------------------


async def test_a_version_goes_its_way_and_every_gateway_follows(start: Start, redis: Redis, keys: Keys) -> None:
    one, other = await start(), await start()
    made = await register(one, dtype="bfloat16", batch={"max_batch_size": 3}, limits={"labels": 5})
    assert state_of(made, "2.0.0") == (False, False) and made["etag"] == '"1"'
    await follows(other, "2.0.0", (False, False))
    await version_of_a_request(other, 404, version="2.0.0")

    await act(other, "activate")
    await follows(one, "2.0.0", (True, False))
    await version_of_a_request(one, version="2.0.0")
    too_many = TEXT | {"version": "2.0.0", "options": {"labels": list("abcdef")}}
    assert (await one.post("/api/v1/predict?wait=0", json=too_many)).status == 422, "its own limits hold"
    refused = await make_default(one, "2.0.0", 409)
    assert refused["type"].endswith("not-ready") and "no live worker serves labels:2.0.0" in refused["detail"]

    await serve(redis, keys, "2.0.0")
    read = await call(one, "GET", MODEL)
    assert [each["states"] for each in read["versions"]] == [
        [],
        [{"worker": "by-hand", "state": "ready", "reason": None}],
    ]
    changed = await make_default(one, "2.0.0", if_match=read["etag"])
    assert state_of(changed, "2.0.0") == (True, True) and state_of(changed, "1.0.0") == (True, False)
    await follows(other, "2.0.0", (True, True))
    await version_of_a_request(other)
    assert await redis.xlen(keys.requests("labels", "2.0.0")) == 2

    await serve(redis, keys, "1.0.0", "2.0.0")
    await make_default(other, "1.0.0", if_match=changed["etag"])
    await follows(one, "1.0.0", (True, True))


async def test_what_waits_for_an_inactive_version_is_kept_and_then_it_may_be_deleted(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    await register(gateway)
    await act(gateway, "activate")
    worker = HandWorker(redis, keys, "labels", "2.0.0")
    await version_of_a_request(gateway, version="2.0.0")
    path = f"{VERSIONS}/2.0.0"
    assert (await call(gateway, "DELETE", path, status=409))["type"].endswith("is-active")
    await act(gateway, "deactivate")
    await version_of_a_request(gateway, 404, version="2.0.0")
    assert (await call(gateway, "DELETE", path, status=409))["type"].endswith("has-requests")
    await serve(redis, keys, "2.0.0")
    await worker.serve_one()
    assert (await call(gateway, "DELETE", path, status=409))["type"].endswith("still-served")
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 60).stop()
    await call(gateway, "DELETE", path, status=204)
    await call(gateway, "DELETE", path, status=404)
    await act(gateway, "activate", status=404)
    assert [each["version"] for each in (await call(gateway, "GET", MODEL))["versions"]] == ["1.0.0"]

    again = await register(gateway, artifact="other", status=409)
    assert "was registered with another artifact" in again["detail"], "predictions of the first are stored"
    await register(gateway, processes=2)
    await act(gateway, "activate")


async def test_a_note_tells_that_a_version_is_being_given_up(gateway: Client, redis: Redis, keys: Keys) -> None:
    await register(gateway)
    await act(gateway, "activate")
    path, body, key = "/api/v1/predict?wait=60", TEXT | {"version": "2.0.0"}, {"Idempotency-Key": "k1"}
    waiting = asyncio.create_task(gateway.post(path, json=body, headers=key))

    async def accepted() -> bool:
        return bool(await redis.xlen(keys.requests("labels", "2.0.0")))

    await eventually(accepted, "it waits")
    await act(gateway, "deactivate")
    async with gateway.post(path, json=body, headers=key) as again:
        assert again.status == 404, "also who repeats a request is told, and does not wait"
    await HandWorker(redis, keys, "labels", "2.0.0").serve_one()
    answer = await waiting
    assert answer.status == 200, "what was accepted is computed and answered"


async def test_the_default_of_the_file_can_be_left_and_taken_again(gateway: Client, redis: Redis, keys: Keys) -> None:
    assert (await act(gateway, "deactivate", "1.0.0", 409))["type"].endswith("is-default")
    await register(gateway)
    assert (await make_default(gateway, "2.0.0", 409))["type"].endswith("not-active")
    await act(gateway, "activate")
    await serve(redis, keys, "2.0.0")
    await make_default(gateway, "2.0.0")
    assert state_of(await act(gateway, "deactivate", "1.0.0"), "1.0.0") == (False, False)
    assert (await call(gateway, "DELETE", f"{VERSIONS}/1.0.0", status=409))["type"].endswith("in-catalogue")
    assert state_of(await act(gateway, "activate", "1.0.0"), "1.0.0") == (True, False)


async def test_what_is_unloaded_to_save_memory_can_be_made_the_default(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    await register(gateway)
    await act(gateway, "activate")
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "full", 60)
    for state, status in ((State.WAITING, 409), (State.UNLOADED, 200)):
        await heartbeat.beat([], states=encode_states({"labels:2.0.0": VersionState(state)}))
        await make_default(gateway, "2.0.0", status)


async def test_each_change_stands_in_the_audit_log(
    gateway: Client, redis: Redis, keys: Keys, database: asyncpg.Connection
) -> None:
    await register(gateway)
    await act(gateway, "activate")
    await serve(redis, keys, "1.0.0", "2.0.0")
    await make_default(gateway, "2.0.0")
    await make_default(gateway, "2.0.0")
    await make_default(gateway, "1.0.0")
    await act(gateway, "deactivate")
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 60).stop()
    await call(gateway, "DELETE", f"{VERSIONS}/2.0.0", status=204)
    await act(gateway, "activate", status=404)
    rows = await database.fetch("SELECT action, target, before, after FROM audit_log ORDER BY number")
    told = [(row["action"].removeprefix("model."), row["target"], row["before"], row["after"]) for row in rows]
    assert told[0][:3] == ("register", "labels:2.0.0", None) and '"artifact":"new"' in told[0][3]
    assert [each[:2] for each in told[1:]] == [
        ("activate", "labels:2.0.0"),
        ("default", "labels"),
        ("default", "labels"),
        ("deactivate", "labels:2.0.0"),
        ("delete", "labels:2.0.0"),
    ], "what is so already, and what is refused, changes nothing"
    assert told[2][2:] == ('{"is":"1.0.0"}', '{"is":"2.0.0"}')


async def test_what_is_so_already_changes_nothing(gateway: Client, redis: Redis, keys: Keys) -> None:
    first = await register(gateway)
    assert (await register(gateway, status=200))["etag"] == first["etag"]
    active = await act(gateway, "activate")
    assert (await act(gateway, "activate"))["etag"] == active["etag"] != first["etag"]
    await serve(redis, keys, "1.0.0")
    assert (await make_default(gateway, "1.0.0"))["etag"] == active["etag"]


async def test_a_new_model_has_a_task_and_a_description_and_at_first_no_default(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    path, body = "/api/v1/models/fresh/versions", {"version": "1", "artifact": "new"}
    missing = await call(gateway, "POST", path, body, 422)
    assert [each["loc"] for each in missing["errors"]] == [["body", "task"], ["body", "description"]]
    written = {"task": "translation", "description": "new", "engine": "openvino"}
    refused = await call(gateway, "POST", path, body | written, 422)
    assert "engine 'openvino' does not compute 'translation': choose torch" in refused["detail"]
    about = {"task": "summarization", "description": "new", "group": "nlp"}
    made = await call(gateway, "POST", path, body | about, 201)
    assert (made["task"], made["description"], made["group"]) == ("summarization", "new", "nlp")
    other = await call(gateway, "POST", path, {"version": "2", "artifact": "new", "task": "feature-extraction"}, 422)
    assert "the task of 'fresh' is 'summarization'" in other["detail"]
    await call(gateway, "POST", f"{path}/1/activate")
    text = {"model": "fresh", "text": "hello"}
    async with gateway.post("/api/v1/predict?wait=0", json=text) as answer:
        assert answer.status == 404 and "no default version" in (await answer.json())["detail"]
    async with gateway.post("/api/v1/predict?wait=0", json=text | {"version": "1"}) as answer:
        assert answer.status == 202
    await call(gateway, "POST", f"{path}/1/deactivate")
    await HandWorker(redis, keys, "fresh", "1").serve_one()
    await call(gateway, "DELETE", f"{path}/1", status=204)
    await call(gateway, "GET", "/api/v1/models/fresh", status=404)
    await call(gateway, "POST", path, body | about, 201)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("artifact", "told"),
    [
        ("../outside", "must not have '..'"),
        ("/etc", "leads out of MODEL_ROOTS"),
        ("out", "leads out of MODEL_ROOTS"),
        ("linked", "is a link that leads out of MODEL_ROOTS"),
        ("missing", "is no directory below MODEL_ROOTS"),
        ("hf://distilbert/x@main", "40 hexadecimal digits"),
        ("hf://distilbert/x", "40 hexadecimal digits"),
        (f"hf://distilbert/x@{COMMIT[1:]}", "40 hexadecimal digits"),
        (f"hf://stranger/x@{COMMIT}", "is not in HUB_OWNERS"),
    ],
)
async def test_an_artifact_from_elsewhere_is_refused(gateway: Client, roots: Path, artifact: str, told: str) -> None:
    (roots.parent / "outside").mkdir()
    (roots.parent / "outside" / "secret").touch()
    (roots / "out").symlink_to("../outside")
    (roots / "linked").mkdir()
    (roots / "linked" / "secret").symlink_to("../../outside/secret")
    refused = await register(gateway, artifact=artifact, status=422)
    assert refused["errors"][0]["loc"] == ["body", "artifact"] and told in refused["detail"]
    assert len((await call(gateway, "GET", MODEL))["versions"]) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"task": "os:system"}, "body.task"),
        ({"version": "A"}, "body.version"),
        ({"version": "a/batch"}, "body.version"),
        ({"active": True}, "body.active"),
        ({"default": True}, "body.default"),
        ({"batch": {"max_batch_size": 0}}, "body.batch.max_batch_size"),
        ({"limits": {"tokens": 10**30}}, "body.limits.tokens"),
        ({"artifact": "a\0"}, "body.artifact"),
        ({"store_input": "digest"}, "set INPUT_DIGEST_SECRET_FILE"),
        ({"description": "a\0"}, "body.description"),
    ],
)
async def test_a_field_that_is_wrong_is_named(gateway: Client, body: dict[str, Any], told: str) -> None:
    assert told in (await call(gateway, "POST", VERSIONS, {"version": "2", "artifact": "new"} | body, 422))["detail"]


@pytest.mark.parametrize("name", ["group", "A", "a%20b", "x" * 101])
async def test_a_model_needs_a_name_that_one_can_have(gateway: Client, name: str) -> None:
    body = {"version": "2", "artifact": "new", "task": "summarization", "description": "d"}
    assert "path.name" in (await call(gateway, "POST", f"/api/v1/models/{name}/versions", body, 422))["detail"]


async def test_a_commit_of_an_owner_who_is_allowed_is_registered(gateway: Client) -> None:
    made = await register(gateway, artifact=f"hf://distilbert/x@{COMMIT}")
    assert made["versions"][1]["digest"] == f"commit:{COMMIT}"


async def test_a_version_is_never_another_than_it_was(gateway: Client, roots: Path) -> None:
    await register(gateway)
    for changes in ({"artifact": "other"}, {"dtype": "bfloat16"}, {"version": "1.0.0"}):
        refused = await register(gateway, status=409, **changes)
        assert refused["type"].endswith("version-exists") and "take another name" in refused["detail"]
    (roots / "new" / "config.json").write_text("changed", encoding="utf-8")
    await register(gateway, status=409)


async def test_the_file_alone_names_versions_of_a_custom_task(gateway: Client) -> None:
    body = {"version": "9", "artifact": "new"}
    refused = await call(gateway, "POST", "/api/v1/models/echo/versions", body, 409)
    assert refused["type"].endswith("custom-task")
    assert state_of(await call(gateway, "POST", "/api/v1/models/echo/versions/1.0.0/deactivate"), "1.0.0") == (
        False,
        False,
    )


async def test_registered_versions_are_bounded(gateway: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "MOST_REGISTERED", 1)
    await register(gateway)
    assert (await register(gateway, "3.0.0", 409))["type"].endswith("too-many-versions")
    await call(gateway, "DELETE", f"{VERSIONS}/2.0.0", status=204)
    await register(gateway, "3.0.0")


async def test_who_may_not_use_a_model_may_not_change_it(gateway: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(gateway)

    async def authenticate(_: str | None) -> Principal:
        return Principal("p_other", frozenset({Scope.ADMIN}), models=("echo",))

    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    await register(gateway, "3.0.0", 404)
    await act(gateway, "activate", status=404)
    await act(gateway, "deactivate", status=404)
    await make_default(gateway, "1.0.0", 404)
    await call(gateway, "DELETE", f"{VERSIONS}/2.0.0", status=404)


# --- changes at once ----------------------------------------------------------------------------------------------


async def test_a_default_is_changed_only_by_who_has_read_what_is(gateway: Client, redis: Redis, keys: Keys) -> None:
    body = {"version": "1.0.0"}
    assert (await call(gateway, "PUT", f"{MODEL}/default", body, 428))["type"].endswith("precondition-required")
    for stale in ('"7"', 'W/"0"', "0", '"0", "1"', '"x"', ""):
        await make_default(gateway, "1.0.0", 412, stale)
    outdated = await make_default(gateway, "1.0.0", 412, '"7"')
    await make_default(gateway, "1.0.0", 200, outdated["etag"])


async def test_of_two_defaults_at_once_one_wins(start: Start, redis: Redis, keys: Keys) -> None:
    gateways = await start(), await start()
    for version in ("2.0.0", "3.0.0"):
        await register(gateways[0], version)
        await act(gateways[0], "activate", version)
    await serve(redis, keys, "2.0.0", "3.0.0")
    etag = (await call(gateways[0], "GET", MODEL))["etag"]
    answers = await asyncio.gather(
        *(
            gateway.put(f"{MODEL}/default", json={"version": version}, headers={"If-Match": etag})
            for gateway, version in zip(gateways, ("2.0.0", "3.0.0"), strict=True)
        )
    )
    assert sorted(each.status for each in answers) == [200, 412]
    winner = "2.0.0" if answers[0].status == 200 else "3.0.0"
    for gateway in gateways:
        await follows(gateway, winner, (True, True))


async def test_registering_the_same_at_once_makes_one(start: Start, database: asyncpg.Connection) -> None:
    gateways = await start(), await start()
    bodies = [{"version": "2.0.0", "artifact": artifact} for artifact in ("new", "other", "new", "other")]
    answers = await asyncio.gather(
        *(gateways[number % 2].post(VERSIONS, json=body) for number, body in enumerate(bodies))
    )
    assert sorted(each.status for each in answers) == [200, 201, 409, 409]
    assert await database.fetchval("SELECT count(*) FROM model_versions WHERE registered_by IS NOT NULL") == 1


# --- stores that are away -----------------------------------------------------------------------------------------


async def test_an_emptied_redis_is_told_again(start: Start, redis: Redis, keys: Keys) -> None:
    gateway = await start()
    await register(gateway)
    await act(gateway, "activate")
    await redis.delete(keys.registry)
    published = ModelRegistry(shard_of("gateway", redis, keys))

    async def again() -> bool:
        return await published.newer_than(0) == application_of(gateway)[CATALOGUE].registry

    await eventually(again, "the registry is published again")
    await version_of_a_request(gateway, version="2.0.0")


async def test_without_postgres_what_is_published_holds_and_nothing_is_changed(start: Start) -> None:
    await act(await _with_registered(start), "activate")
    away = await start(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    await follows(away, "2.0.0", (True, False))
    await version_of_a_request(away, version="2.0.0")
    assert (await register(away, "3.0.0", 503))["type"].endswith("store-unavailable")
    await act(away, "deactivate", status=503)


async def test_without_redis_a_change_is_told_when_it_is_back(
    start: Start, own_redis: RedisServer, redis: Redis, keys: Keys
) -> None:
    one, other = await start(redis_url=own_redis.url), await start(redis_url=own_redis.url)
    await register(one)
    await follows(other, "2.0.0", (False, False))
    own_redis.stop()
    await call(one, "POST", f"{VERSIONS}/2.0.0/activate", status=503)  # the answer tells how many workers serve it
    assert application_of(one)[CATALOGUE].resolve("labels", "2.0.0") is not None, "but it is decided"
    own_redis.start()
    await follows(other, "2.0.0", (True, False))


async def test_what_is_no_registry_changes_nothing(gateway: Client, redis: Redis, keys: Keys) -> None:
    await register(gateway)
    await redis.hset(keys.registry, mapping={"models": "99999999999999", "models_content": "torn"})
    following = ModelRegistry(shard_of("gateway", redis, keys))
    await following.publish(Registry(epoch=5))
    assert await following.epoch() == 99999999999999, "and an older one is not published over a newer one"
    assert len((await call(gateway, "GET", MODEL))["versions"]) == 2


async def _with_registered(start: Start) -> Client:
    gateway = await start()
    await register(gateway)
    return gateway


async def test_a_gateway_with_another_file_than_the_database_decides_nothing(
    gateway: Client, database: asyncpg.Connection
) -> None:
    await database.execute("UPDATE models SET says = '1.0.0=active' WHERE name = 'labels'")
    refused = await register(gateway, status=409)
    assert refused["type"].endswith("not-migrated") and "run that step" in refused["detail"]


async def test_what_the_migrate_step_has_changed_is_read_at_the_start(
    start: Start, database: asyncpg.Connection
) -> None:
    first = await start()
    await register(first)
    model = application_of(first)[CATALOGUE].seed.find("labels")
    assert model is not None and says_of(model) == "1.0.0=default"
    await database.execute("UPDATE model_versions SET is_active = true WHERE version = '2.0.0' AND entry IS NOT NULL")
    await database.execute("UPDATE registry SET epoch = epoch + 1")
    await start()
    await follows(first, "2.0.0", (True, False))
