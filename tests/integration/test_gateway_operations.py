"""What operators and tools look at: the document of the API, its pages, health, probes, metrics, models."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientSession, web
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.app import EVERY_OPERATION, make_app
from gateway.http.context import DRAIN
from gateway.settings import GatewaySettings
from scripts.stack.ports import free_port
from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.contract.version_states import State, VersionState, encode_states
from shared.service.liveness import Liveness
from shared.streams.drift_board import DriftBoard
from shared.streams.workers import Heartbeat, WorkerDirectory
from tests.access import USERS_FILE, running_redis, shard_of
from tests.conftest import cloned_database
from tests.gateways import Client, HandWorker, StartGateway, scrape, waiters_of
from tests.waiting import eventually

PREDICT = "/api/v1/predict"


async def get(gateway: Client, path: str, status: int = 200) -> dict[str, Any]:
    """A JSON answer with that status."""
    answer = await gateway.get(path)
    assert answer.status == status, await answer.text()
    body: dict[str, Any] = await answer.json()
    return body


# --- OpenAPI and its page ------------------------------------------------------------------------------------------


@pytest.fixture
def database_url() -> str:
    """Most of this module needs no Postgres."""
    return f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"


async def test_the_openapi_document_is_valid(gateway: Client) -> None:
    document = await get(gateway, "/openapi.json")
    validate(document)
    assert document["openapi"].startswith("3.1")


async def test_the_openapi_document_has_every_route_of_the_api(gateway: Client) -> None:
    assert gateway.app is not None
    undocumented = {"/openapi.json", "/"}  # the document itself, and the console
    routes = {
        (route.method, route.resource.canonical)
        for route in gateway.app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and not route.resource.canonical.startswith(("/docs", "/console/"))
    }
    paths = (await get(gateway, "/openapi.json"))["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert documented == {(method, path) for method, path in routes if path not in undocumented}
    assert documented == {(each.method, each.path) for each in EVERY_OPERATION}


async def test_head_answers_as_get_does_and_no_operation_of_the_api_overlooks_a_query_that_it_does_not_take(
    gateway: Client,
) -> None:
    some_id = "01a22136-d5bd-7000-b2ca-b39d02441e67"
    parts = dict.fromkeys(("prediction_id", "erasure_id"), some_id) | {"dead_letter_id": "1-1", "key_id": "a"}
    overlooked, differing = [], []
    for each in EVERY_OPERATION:
        path = each.path.format(**parts, name="echo", version="1.0.0")
        if each.path.startswith("/api/"):
            body = {"text": "a", "texts": ["a"]} if each.body is not None else None
            async with gateway.request(each.method, f"{path}?nope=1", json=body) as answer:
                told = await answer.text() if answer.status == 422 else ""
            overlooked += [] if "query.nope" in told or "body." in told else [f"{each.method} {path}"]
        if each.method == "GET":
            async with gateway.get(path) as answer, gateway.head(path) as head:
                differing += [path] if head.status != answer.status or await head.read() else []
    assert (overlooked, differing) == ([], [])


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("post", "/api/v1/predict", {200, 202, 400, 404, 413, 415, 422, 500, 503, 504}),
        ("post", "/api/v1/predict/batch", {200, 202, 400, 404, 413, 415, 422, 503}),
        ("get", "/api/v1/predictions/{prediction_id}", {200, 404, 422, 503}),
        ("get", "/api/v1/predictions", {200, 404, 422, 503}),
        ("get", "/api/v1/models", {200, 503}),
        ("get", "/api/v1/models/{name}", {200, 404, 503}),
        ("get", "/health", {200, 503}),
        ("get", "/livez", {200, 503}),
        ("get", "/readyz", {200, 503}),
    ],
)
async def test_each_operation_documents_what_it_answers(
    gateway: Client, method: str, path: str, statuses: set[int]
) -> None:
    document = await get(gateway, "/openapi.json")
    responses = document["paths"][path][method]["responses"]
    assert {int(each) for each in responses} >= statuses
    for status, response in responses.items():
        problem = int(status) >= 400 and path.startswith("/api")
        assert set(response["content"]) == {"application/problem+json" if problem else "application/json"}


async def test_a_browser_gets_the_console_and_a_program_the_addresses(gateway: Client) -> None:
    page = await gateway.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    html = await page.text()
    assert page.status == 200 and page.content_type == "text/html" and page.headers["Cache-Control"] == "no-cache"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert page.headers["Vary"] == "Accept-Encoding, Accept" and not re.search(r"(https?:)?//", html)
    told = await get(gateway, "/")
    assert [(await gateway.get(told[each])).status for each in ("api", "docs", "openapi")] == [200, 200, 200]


async def test_the_page_and_its_files_come_from_here(gateway: Client) -> None:
    page = await gateway.get("/docs")
    html = await page.text()
    assert page.status == 200 and page.content_type == "text/html"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-cache"
    assert not re.search(r"(https?:)?//", html)
    linked = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert {path.rpartition("/")[2] for path in linked} == {
        "swagger-ui.css",
        "swagger-ui-bundle.js",
        "favicon-32x32.png",
        "start.js",
    }
    read = {path.rpartition("/")[2]: await (await gateway.get(path)).text("latin-1") for path in linked}
    assert 'url: "/openapi.json"' in read["start.js"] and "specActions.download()" in read["start.js"]
    assert 'PACKAGE_VERSION:"5.35.0"' in read["swagger-ui-bundle.js"]


@pytest.mark.parametrize("encoding", ["gzip", "br, gzip", "", "br"])
@pytest.mark.parametrize("page", ["/docs", "/"])
async def test_the_files_of_a_page_are_packed_and_kept_for_good(gateway: Client, encoding: str, page: str) -> None:
    html = await (await gateway.get(page, headers={"Accept": "text/html"})).text()
    headers = {"Accept-Encoding": encoding}
    async with ClientSession(auto_decompress=False) as session:
        for path in re.findall(r'(?:src|href)="([^"]+[.][a-z]+)"', html):
            async with session.get(gateway.make_url(path), headers=headers) as answer:
                assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
                packed = answer.headers.get("Content-Encoding") == "gzip"
                assert packed is ("gzip" in encoding and path.endswith((".css", ".js", ".svg")))
                assert answer.headers["Vary"] == "Accept-Encoding"
                body = await answer.read()
            assert (gzip.decompress(body) if packed else body) == await (await gateway.get(path)).read()


# --- models and who serves them ------------------------------------------------------------------------------------


async def test_models_are_listed_with_what_serves_them(
    gateway: Client, redis: Redis, keys: Keys, worker: HandWorker
) -> None:
    models = (await get(gateway, "/api/v1/models"))["items"]
    assert [each["name"] for each in models] == ["echo", "noop", "labels"]
    await worker.stream.join()  # a consumer without a heartbeat is a dead worker's
    echo = await get(gateway, "/api/v1/models/echo")
    assert [(each.pop("states"), each.pop("drift")) for each in echo["versions"]] == [
        ([], None)
    ] * 3, "of one model, for administrators"
    assert [each.pop("schemas") for each in echo["versions"]] == [{}, {}, {}], "of one model"
    assert echo == models[0]
    assert [(each["version"], each["is_default"], each["is_active"], each["workers"]) for each in echo["versions"]] == [
        ("1.0.0", False, True, 0),
        ("2.0.0", True, True, 0),
        ("3.0.0", False, False, 0),
    ]
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 30).beat(["echo:2.0.0"])
    echo = await get(gateway, "/api/v1/models/echo")
    assert [each["workers"] for each in echo["versions"]] == [0, 1, 0]
    # a version that broke in its worker, which still holds one of its entries
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 30).beat(["echo:1.0.0"])
    echo = await get(gateway, "/api/v1/models/echo")
    assert [each["workers"] for each in echo["versions"]] == [0, 0, 0]


async def test_dead_workers_are_removed_once_they_hold_nothing(
    gateway: Client, redis: Redis, keys: Keys, worker: HandWorker, catalogue: Catalogue
) -> None:
    served = catalogue.resolve("echo", None)
    assert served is not None
    directory = WorkerDirectory(shard_of("inference_worker", redis, keys))
    assert await directory.remove_dead(served) == 0  # there is no stream yet
    await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})
    taken = await worker.take()
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 30)
    await heartbeat.beat(["echo:2.0.0"])
    assert await directory.remove_dead(served) == 0  # alive
    await heartbeat.stop()
    assert await directory.live([served]) == {"echo:2.0.0": 0}
    assert await directory.remove_dead(served) == 0  # dead, but what it holds would be lost
    await worker.finish(taken)
    assert await directory.remove_dead(served) == 1


async def test_who_asks_a_version_that_nobody_serves_is_told_so(
    gateway: Client, redis: Redis, keys: Keys, worker: HandWorker
) -> None:
    async def submitted() -> dict[str, Any]:
        body = {"model": "echo", "texts": ["a"]}
        async with gateway.post(f"{PREDICT}/batch?wait=0", json=body) as answer:
            assert answer.status == 202
            queued: dict[str, Any] = (await answer.json())["items"][0]
            return queued

    async def told() -> bool:
        return "no live worker serves echo:2.0.0 now" in (await submitted()).get("note", "")

    async def not_told() -> bool:
        return "note" not in await submitted()

    await eventually(told, "the gateway has looked")
    queued = await submitted()
    assert (await get(gateway, f"/api/v1/predictions/{queued['prediction_id']}"))["note"] == queued["note"]
    await worker.stream.join()
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 30).beat(["echo:2.0.0"])
    await eventually(not_told, "the gateway has looked again")
    assert "note" not in await get(gateway, f"/api/v1/predictions/{queued['prediction_id']}")


# --- health and probes ---------------------------------------------------------------------------------------------


async def serve_everything(redis: Redis, keys: Keys, catalogue: Catalogue) -> None:
    """Have a live worker for all versions."""
    for each in catalogue.served():
        await HandWorker(redis, keys, each.model, each.version.version).stream.join()
    await Heartbeat(shard_of("inference_worker", redis, keys), "by-hand", 30).beat(
        [each.label for each in catalogue.served()]
    )


class TestWithPostgres:
    """With all there is."""

    @pytest.fixture
    def database_url(self, postgres_server: PostgresServer) -> Iterator[str]:
        """A migrated database."""
        with cloned_database(postgres_server) as url:
            yield url

    async def test_health_is_ok_when_everything_is_there_and_served(
        self, gateway: Client, redis: Redis, keys: Keys, catalogue: Catalogue
    ) -> None:
        await serve_everything(redis, keys, catalogue)
        expected = {
            "status": "ok",
            "redis": "ok",
            "postgres": "ok",
            "reasons": {},
            "warnings": [],
            "unserved": [],
            "waiting_for_memory": {},
            "load_errors": {},
            "orphans": [],
        }
        assert await get(gateway, "/health") == expected

    async def test_health_is_degraded_while_a_version_is_served_by_nobody(self, gateway: Client) -> None:
        body = await get(gateway, "/health")
        assert (body["status"], body["postgres"]) == ("degraded", "ok")
        assert body["unserved"] == ["echo:1.0.0", "echo:2.0.0", "noop:1.0.0", "labels:1.0.0"]

    async def test_what_is_unloaded_for_want_of_memory_is_well_until_somebody_waits_for_it(
        self, gateway: Client, redis: Redis, keys: Keys, catalogue: Catalogue
    ) -> None:
        label = "labels:1.0.0"
        await serve_everything(redis, keys, Catalogue(models=catalogue.models[:-1]))
        heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "full", 60)
        told = {"unloaded": "needs 60 MB", "waiting_for_memory": "needs 60 MB, and 120 of 170 are taken"}
        for state, unserved, waiting in (
            ("unloaded", [], {}),
            ("waiting_for_memory", [label], {label: told["waiting_for_memory"]}),
        ):
            states = {label: VersionState(State(state), told[state])}
            await heartbeat.beat([], states=encode_states(states))
            body = await get(gateway, "/health")
            assert (body["unserved"], body["waiting_for_memory"]) == (unserved, waiting)
            assert body["status"] == ("degraded" if waiting else "ok")
            await DriftBoard(shard_of("persister", redis, keys)).tell(label, {"label": 0.3}, interval_s=60)
            (version,) = (await get(gateway, "/api/v1/models/labels"))["versions"]
            assert version["drift"] == {"label": 0.3}
            assert version["states"] == [{"worker": "full", "state": state, "reason": told[state]}]
            assert version["workers"] == 0


async def test_health_is_degraded_without_postgres(
    gateway: Client, redis: Redis, keys: Keys, catalogue: Catalogue
) -> None:
    await serve_everything(redis, keys, catalogue)
    body = await get(gateway, "/health")
    assert body.pop("reasons")["postgres"].startswith("postgres cannot be reached: ")
    assert body == {
        "status": "degraded",
        "redis": "ok",
        "postgres": "unavailable",
        "warnings": [],
        "unserved": [],
        "waiting_for_memory": {},
        "load_errors": {},
        "orphans": [],
    }


async def test_health_is_503_without_redis_and_so_is_readiness_but_not_liveness(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(ready=False, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    body = await get(gateway, "/health", 503)
    assert (body["status"], body["redis"]) == ("unavailable", "unavailable")
    assert "redis cannot be reached" in body["reasons"]["redis"]
    probe = await get(gateway, "/readyz", 503)
    assert probe["status"] == "not ready" and probe["reason"].startswith("Redis is unavailable: ")
    assert await get(gateway, "/livez") == {"status": "ok"}


async def test_readiness_follows_redis(start_gateway: StartGateway, tmp_path: Path) -> None:
    async def status() -> int:
        return (await gateway.get("/readyz")).status

    async def red() -> bool:
        return await status() == 503

    async def green() -> bool:
        return await status() == 200

    with running_redis(tmp_path / "redis") as server:
        gateway = await start_gateway(redis_url=server.url)
        assert await status() == 200
        server.kill()
        await eventually(red, "not ready without Redis")
        server.start()
        await eventually(green, "ready again")
        answer = await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})
        assert answer.status == 202


async def test_what_waited_through_a_restart_of_redis_is_answered(
    start_gateway: StartGateway, tmp_path: Path, keys: Keys
) -> None:
    server = RedisServer(tmp_path / "redis", free_port(), appendfsync="always", users=USERS_FILE)
    server.start()
    try:
        gateway = await start_gateway(redis_url=server.url, recheck_interval_s=0.2)
        asked = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
        await eventually(lambda: waiters_of(gateway).count == 1, "it waits")
        redis = Redis.from_url(server.url, protocol=2)
        taken = await HandWorker(redis, keys).take()
        await redis.aclose()
        server.kill()
        server.start()
        redis = Redis.from_url(server.url, protocol=2)
        assert await HandWorker(redis, keys).finish(taken) == [True]
        await redis.aclose()
        assert (await asked).status == 200
    finally:
        server.stop()


async def test_who_waits_when_redis_goes_away_gets_the_id(
    start_gateway: StartGateway, tmp_path: Path, keys: Keys
) -> None:
    with running_redis(tmp_path / "redis") as server:
        gateway = await start_gateway(redis_url=server.url)
        asked = asyncio.create_task(gateway.post(f"{PREDICT}?wait=1", json={"model": "echo", "text": "a"}))
        redis = Redis.from_url(server.url, protocol=2)
        await eventually(lambda: has_entries(redis, keys.requests("echo", "2.0.0")), "accepted")
        await redis.aclose()
        server.kill()
        answer = await asked
        assert answer.status == 202 and answer.headers["Location"]


async def has_entries(redis: Redis, stream: str) -> bool:
    """Whether there is something in the stream."""
    return int(await redis.xlen(stream)) > 0


async def test_a_gateway_can_be_stopped_while_it_connects(
    redis_server: RedisServer, database_url: str, keys: Keys, catalogue: Catalogue
) -> None:
    stores: dict[str, Any] = {"redis_url": redis_server.url, "database_url": database_url, "key_prefix": keys.prefix}
    for steps in range(40):
        runner = web.AppRunner(make_app(GatewaySettings(**stores), catalogue))
        await runner.setup()
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await runner.cleanup()


async def test_readiness_is_red_once_the_gateway_was_told_to_stop(gateway: Client) -> None:
    assert gateway.app is not None
    await gateway.app.shutdown()
    assert await get(gateway, "/readyz", 503) == {"status": "not ready", "reason": "stopping"}
    assert await get(gateway, "/livez") == {"status": "ok"}  # it is not to be killed for that


async def test_readiness_is_red_and_requests_are_served_until_the_listener_closes(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(drain_delay_s=20)
    assert gateway.app is not None
    drain = gateway.app[DRAIN]
    drain.on_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: drain.begun, "it notices that it was told to stop")
        assert await get(gateway, "/readyz", 503) == {"status": "not ready", "reason": "stopping"}
        async with gateway.post(PREDICT, json={"model": "echo", "text": "a"}, params={"wait": "0"}) as answer:
            assert answer.status == 202
        assert not drain.over.is_set()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_every_loop_takes_its_turns(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Coroutine[Any, Any, int]]:
        async def turn(*_: object) -> int:
            turns[name] += 1
            return 0

        return turn

    loops = {
        "gateway.core.waiting.Waiters.recheck",
        "gateway.loops.Expiry.expire",
        "gateway.loops.age_out",
        "gateway.http.connections.Connections.sweep",
        "gateway.core.serving.Serving.look",
        "gateway.loops.Throughput.measure",
    }
    for name in loops:
        monkeypatch.setattr(name, counted(name))
    monkeypatch.setattr("gateway.loops.http_metrics", Mock(count=lambda: turns.update(["http metrics"])))
    for name in ("COUNT_EVERY_S", "SWEEP_EVERY_S", "LOOK_FOR_WORKERS_EVERY_S", "MEASURE_EVERY_S"):
        monkeypatch.setattr(f"gateway.loops.{name}", 0.02)
    await start_gateway(recheck_interval_s=0.02, expiry_interval_s=0.02)
    await eventually(
        lambda: loops | {"http metrics"} <= {name for name, count in turns.items() if count > 2}, "each has had several"
    )


async def test_liveness_is_red_when_a_loop_stalls(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.components.Liveness", lambda timeout_s: Liveness(timeout_s, lambda: now))
    stuck = asyncio.Event()

    async def never_returns(_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("gateway.upkeep.expiry.Expiry.expire", never_returns)
    gateway = await start_gateway(stall_timeout_s=30, recheck_interval_s=0.05, expiry_interval_s=0.05)
    assert await get(gateway, "/livez") == {"status": "ok"}
    await asyncio.wait_for(stuck.wait(), 10)
    now = 31.0

    async def only_the_stalled_loop() -> bool:
        answer = await gateway.get("/livez")
        return answer.status == 503 and (await answer.json())["reason"] == "expiry has made no progress for 31.0 s"

    await eventually(only_the_stalled_loop, "the loop of hints moved on, the other did not")


@pytest.mark.parametrize(
    ("ending", "how"),
    [("raise ValueError('no good')", "failed"), ("return", "ended early"), ("raise Cancelled", "was cancelled")],
)
def test_a_gateway_without_one_of_its_loops_ends_with_an_error(
    environment: dict[str, str], ending: str, how: str
) -> None:
    """Half a gateway would look healthy: requests would be accepted, and never expire."""
    code = (
        "import sys, gateway.loops\n"
        "from asyncio import CancelledError as Cancelled\n"
        f"async def broken(*_, **__):\n    {ending}\n"
        "gateway.loops.every = broken\n"
        "from gateway.__main__ import main\n"
        "sys.exit(main())"
    )
    given = {**os.environ, **environment, "GATEWAY_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "a loop ended" in done.stderr and f"how={how}" in done.stderr


# --- metrics -------------------------------------------------------------------------------------------------------


async def samples(gateway: Client) -> dict[tuple[str, ...], float]:
    """All samples: name and label values, by the labels' names, to value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(await scrape(gateway))
        for sample in family.samples
    }


async def test_every_metric_of_a_gateway_is_exported(gateway: Client, redis: Redis, keys: Keys) -> None:
    await gateway.get("/api/v1/predictions")  # Postgres is away: an error to count
    found = {name for name, *_ in await samples(gateway)}
    for name in (
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_requests_in_flight",
        "errors_total",
        "models_active",
        "workers_live",
        "db_pool_connections",
        "queue_depth",
        "queue_pending",
        "queue_oldest_age_seconds",
        "redis_memory_bytes",
        "build_info",
    ):
        assert f"millstream_{name}" in found, name


async def test_the_queues_are_measured_by_their_logical_names(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, catalogue: Catalogue
) -> None:
    await gateway.post(f"{PREDICT}/batch?wait=0", json={"model": "echo", "texts": ["a", "b", "c"]})
    await serve_everything(redis, keys, catalogue)
    await worker.take(2)
    await redis.xadd(keys.results, {"a": "b"})
    await redis.xadd(keys.dead, {"a": "b"}, id="1-1")  # half a century ago
    found = await samples(gateway)
    stream = "interactive", "requests/echo/2.0.0"
    assert found["millstream_queue_depth", *stream] == 3 and found["millstream_queue_pending", *stream] == 2
    assert 0 <= found["millstream_queue_oldest_age_seconds", *stream] < 60
    assert found["millstream_queue_depth", "", "results"] == 1 and found["millstream_queue_depth", "", "dead"] == 1
    assert found["millstream_queue_oldest_age_seconds", "", "dead"] > 1e9
    assert found["millstream_queue_depth", "interactive", "requests/noop/1.0.0"] == 0
    assert found["millstream_workers_live", "echo", "2.0.0"] == 1
    assert found["millstream_models_active",] == 4
    assert found["millstream_redis_memory_bytes", "used"] > 0
    assert found["millstream_redis_memory_bytes", "limit"] == 512 * 1024 * 1024


class TestGroups:
    """With a model that has a group."""

    @pytest.fixture
    def catalogue(self, catalogue: Catalogue) -> Catalogue:
        """The fixture models, of which one has a group."""
        models = [
            each.model_copy(update={"group": "nlp" if each.name == "echo" else None}) for each in catalogue.models
        ]
        return catalogue.model_copy(update={"models": tuple(models)})

    async def test_a_metric_says_which_group_a_model_has(self, gateway: Client) -> None:
        found = await samples(gateway)
        groups = {name[1:]: value for name, value in found.items() if name[0] == "millstream_model_group"}
        assert {name: value for name, value in groups.items() if "echo" in name} == {("nlp", "echo"): 1}


async def test_requests_are_counted_with_bounded_labels(gateway: Client) -> None:
    before = await samples(gateway)
    for number in range(3):
        await gateway.post(PREDICT, json={"model": f"made-up-{number}", "text": "a"})
        await gateway.get(f"/made/up/{number}")
        await gateway.request("PROPFIND", f"/api/v1/predictions/{number}")
        await gateway.get(f"/api/v1/predictions/made-up-{number}")
        await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})
    after = await samples(gateway)

    def counted(*labels: str) -> float:
        name = ("millstream_http_requests_total", *labels)
        return after[name] - before.get(name, 0)

    assert counted(PREDICT, "POST", "unknown", "404") == 3
    assert counted("unknown", "", "", "404") == 3
    assert counted("unknown", "", "", "405") == 3
    assert counted("/api/v1/predictions/{prediction_id}", "GET", "", "404") == 3
    assert counted(PREDICT, "POST", "echo", "202") == 3
    assert not [key for key in after if any("made-up" in label or "/made/" in label for label in key)]
    duration = ("millstream_http_request_duration_seconds_count", PREDICT, "echo")
    assert after[duration] - before.get(duration, 0) == 3


async def test_refusals_are_counted_by_their_reason(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_backlog=1, max_batch_texts=1)
    before = await samples(gateway)
    for _ in range(3):
        await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})
    name = ("millstream_errors_total", "gateway", "refused_backlog")
    assert (await samples(gateway))[name] - before.get(name, 0) == 2


async def test_a_client_that_leaves_is_counted_as_such_and_not_in_flight(gateway: Client, worker: HandWorker) -> None:
    before = await samples(gateway)
    asked = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
    await worker.take()
    asked.cancel()
    await eventually(lambda: waiters_of(gateway).count == 0, "nobody waits")
    name = ("millstream_http_requests_total", PREDICT, "POST", "echo", "499")
    after = await samples(gateway)
    assert after[name] - before.get(name, 0) == 1
    assert after["millstream_http_requests_in_flight",] == before["millstream_http_requests_in_flight",] == 0


async def test_metrics_are_answered_without_redis(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(ready=False, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert ("millstream_errors_total", "gateway", "redis_connection") in await samples(gateway)
