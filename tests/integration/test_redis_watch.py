"""A Redis that is not as Millstream needs it is found out, at the start and while it runs, and so is its mending."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from scripts.stack.binaries import redis_server
from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer
from shared.contract.errors import StoreUnavailable
from shared.service.liveness import Liveness
from shared.service.settings import Settings
from shared.streams import redis_watch
from shared.streams.preconditions import Level
from shared.streams.redis_watch import USES, RedisWatch, commands_of
from shared.streams.shard import open_shard
from shared.telemetry.metrics import REDIS_CHECK_FAILED
from tests.gateways import Client, StartGateway
from tests.waiting import eventually

PREDICT = "/api/v1/predict"
BODY = {"model": "echo", "text": "a"}
DEBIAN = Path("/usr/bin/redis-server")
PROGRAMS = [redis_server(), *([DEBIAN] if DEBIAN.exists() else [])]

StartRedis = Callable[..., RedisServer]


@pytest.fixture(params=PROGRAMS, ids=lambda program: "redis" if program == DEBIAN else "wheel")
def start_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartRedis]:
    """Start a server with settings of its own: each program that is here."""
    started: list[RedisServer] = []

    def start(settings: Mapping[str, str] | None = None, **options: Any) -> RedisServer:
        made = RedisServer(tmp_path / "redis", free_port(), settings=settings, program=request.param, **options)
        started.append(made)
        made.start()
        return made

    yield start
    for server in started:
        server.kill()  # what cannot save its data does not stop


@asynccontextmanager
async def watching(server: RedisServer, service: str = "gateway", login: str = "") -> AsyncIterator[RedisWatch]:
    url = server.url.replace("redis://", f"redis://{login}")
    shard = open_shard(Settings(redis_url=SecretStr(url)))
    yield RedisWatch(shard, service, Liveness(30))
    await shard.close()


@asynccontextmanager
async def operator(server: RedisServer) -> AsyncIterator[Any]:
    async with Redis.from_url(server.url, protocol=2) as client:
        yield client


async def looked(watch: RedisWatch) -> list[tuple[str, Level]]:
    await watch.look()
    return [(each.check, each.level) for each in watch.findings]


async def test_ours_is_fine_and_a_look_changes_nothing(start_redis: StartRedis) -> None:
    server = start_redis()
    async with operator(server) as admin:
        for service in USES:
            async with watching(server, service) as watch:
                assert await looked(watch) == [], service
        assert await admin.dbsize() == 0


async def test_what_is_set_wrongly_is_found_and_its_mending_too(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis({"appendonly": "no", "maxmemory-policy": "allkeys-lru"})
    async with operator(server) as admin, watching(server) as watch:
        assert await looked(watch) == [("eviction", Level.REFUSES), ("persistence", Level.WARNS)]
        assert REDIS_CHECK_FAILED.labels("gateway", "eviction")._value.get() == 1
        await watch.require()  # what was accepted is finished all the same
        await watch.look()
        assert len([each for each in caplog.records if "not as it should be" in each.message]) == 2, "said once"
        await admin.config_set("maxmemory", 0)
        assert await looked(watch) == [("eviction", Level.WARNS), ("persistence", Level.WARNS)]
        await admin.config_set("maxmemory-policy", "volatile-ttl")
        await admin.config_set("appendonly", "yes")
        assert await looked(watch) == [("eviction", Level.WARNS)]
        await admin.config_set("maxmemory-policy", "noeviction")
        assert await looked(watch) == []
        assert REDIS_CHECK_FAILED.labels("gateway", "eviction")._value.get() == 0
        assert "as it should be again" in caplog.records[-1].message


async def test_a_cluster_is_refused_in_words(start_redis: StartRedis) -> None:
    server = start_redis({"cluster-enabled": "yes", "cluster-port": str(free_port())})
    async with watching(server) as watch:
        with pytest.raises(StoreUnavailable, match="Redis runs as a cluster"):
            await watch.require()


async def test_a_replica_is_found(start_redis: StartRedis) -> None:
    server = start_redis()
    async with operator(server) as admin, watching(server) as watch:
        await admin.replicaof("127.0.0.1", "1")
        assert ("role", Level.BLOCKED) in await looked(watch)
        await admin.replicaof("NO", "ONE")
        assert await looked(watch) == []


@pytest.mark.parametrize("service", USES)
async def test_each_right_that_is_missing_is_named(start_redis: StartRedis, service: str) -> None:
    server = start_redis()
    async with operator(server) as admin, watching(server, service, "x:y@") as watch:
        await admin.execute_command("ACL", "SETUSER", "x", "on", ">y", "~*", "&*", "+@all")
        await watch.require()
        for command in commands_of(service):
            name = command.split()[0].lower()
            await admin.execute_command("ACL", "SETUSER", "x", f"-{name}")
            with pytest.raises(StoreUnavailable, match=f"user 'x' may not run .*'{command.lower()}'") as raised:
                await watch.require()
            assert raised.value.reason == "no_permission"
            await admin.execute_command("ACL", "SETUSER", "x", f"+{name}")
        await watch.require()


async def test_keys_channels_and_scripts_that_are_forbidden_are_told(start_redis: StartRedis) -> None:
    server = start_redis()
    async with operator(server) as admin, watching(server, login="x:y@") as watch:
        for forbidden, told in {
            "~other:*": "may not access a key",
            "resetchannels": "may not access a channel",
            "-evalsha": "'evalsha'",
            "-script": "'script exists'",
        }.items():
            await admin.execute_command("ACL", "SETUSER", "x", "reset", "on", ">y", "~*", "&*", "+@all")
            rules = ["resetkeys", forbidden] if forbidden.startswith("~") else [forbidden]
            await admin.execute_command("ACL", "SETUSER", "x", *rules)
            with pytest.raises(StoreUnavailable, match=told):
                await watch.require()


async def test_what_a_managed_redis_does_not_tell_is_said_once(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis({"maxmemory-policy": "allkeys-lru"})
    async with operator(server) as admin, watching(server, "inference_worker", "x:y@") as watch:
        await admin.execute_command("ACL", "SETUSER", "x", "on", ">y", "~*", "&*", "+@all", "-info")
        assert await looked(watch) == [] and await looked(watch) == []
        (said,) = [each for each in caplog.records if each.message == "settings of Redis not checked"]
        assert said.levelname == "INFO" and "'info'" in vars(said)["detail"]


async def told(gateway: Client, path: str, status: int) -> Callable[[], Awaitable[bool]]:
    async def answered() -> bool:
        return (await gateway.get(path)).status == status

    return answered


async def test_a_gateway_refuses_while_redis_would_lose_what_it_accepts(
    start_gateway: StartGateway, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_watch, "EVERY_S", 0.1)
    monkeypatch.setattr(redis_watch, "SOON_S", 0.1)
    server = start_redis()
    gateway = await start_gateway(redis_url=server.url)
    async with operator(server) as admin:
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202
        await admin.config_set("maxmemory-policy", "allkeys-lru")
        await eventually(await told(gateway, "/readyz", 503), "not ready")
        reason = (await (await gateway.get("/readyz")).json())["reason"]
        assert "maxmemory-policy allkeys-lru" in reason
        answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
        problem = await answer.json()
        assert (answer.status, problem["type"]) == (503, "urn:millstream:problem:queue-unavailable")
        assert reason in problem["detail"] and answer.headers["Retry-After"]
        health = await (await gateway.get("/health")).json()
        assert (health["status"], health["reasons"]["redis"]) == ("unavailable", reason)
        await admin.config_set("maxmemory-policy", "noeviction")
        await eventually(await told(gateway, "/readyz", 200), "ready again")
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202
        await admin.config_set("maxmemory-policy", "volatile-lru")

        async def warned() -> bool:
            health = await (await gateway.get("/health")).json()
            return bool(health["warnings"]) and health["redis"] == "ok"

        await eventually(warned, "a warning")


async def test_a_gateway_that_lacks_a_right_is_not_ready_until_it_is_given(
    start_gateway: StartGateway, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_watch, "EVERY_S", 0.1)
    monkeypatch.setattr(redis_watch, "SOON_S", 0.1)
    server = start_redis()
    async with operator(server) as admin:
        await admin.execute_command("ACL", "SETUSER", "x", "on", ">y", "~*", "&*", "+@all", "-subscribe")
        gateway = await start_gateway(ready=False, redis_url=server.url.replace("redis://", "redis://x:y@"))
        for right in ("subscribe", "xadd"):

            async def named(right: str = right) -> bool:
                answer = await gateway.get("/readyz")
                return answer.status == 503 and f"'x' may not run '{right}'" in (await answer.json())["reason"]

            await eventually(named, f"{right} is named")
            await admin.execute_command(
                "ACL", "SETUSER", "x", f"+{right}", "-xadd" if right == "subscribe" else "+ping"
            )
        await eventually(await told(gateway, "/readyz", 200), "ready")
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202
