"""Stores that answer wrongly, or not at all: the gateway finds out by itself, says so, and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scripts.stack.redis import RedisServer
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.streams.prediction_state import PredictionStates
from shared.streams.redis_errors import redis_errors, wants_reconnect, word_of
from tests.access import shard_of
from tests.chaos.proxy import Mode, Proxy
from tests.gateways import Client, HandWorker, StartGateway
from tests.waiting import eventually

PREDICT = "/api/v1/predict"
BODY = {"model": "echo", "text": "a"}
IN_A_SCRIPT = "Error running script (call to f_1): @user_script:3: @user_script: 3: -%s"  # as Redis 6.2 says it


@pytest.fixture
async def proxy(own_redis: RedisServer) -> AsyncIterator[Proxy]:
    """A network to it."""
    made = Proxy(own_redis.port)
    await made.start()
    yield made
    await made.close()


async def is_ready(gateway: Client) -> bool:
    return (await gateway.get("/readyz")).status == 200


@pytest.mark.parametrize(
    ("error", "word", "reason"),
    [
        (ReadOnlyError("You can't write against a read only replica."), "READONLY", "read_only"),
        (ResponseError("READONLY You can't write against a read only replica. script: 1."), "READONLY", "read_only"),
        (ResponseError(IN_A_SCRIPT % "READONLY You can't write against a read only replica."), "READONLY", "read_only"),
        (ResponseError("UNBLOCKED force unblock, instance state changed"), "UNBLOCKED", "read_only"),
        (ResponseError(IN_A_SCRIPT % "MISCONF Redis is configured to save RDB snapshots"), "MISCONF", "misconf"),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "MISCONF", "misconf"),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS", "no_replicas"),
        (ResponseError(IN_A_SCRIPT % "OOM command not allowed when used memory > x"), "OOM", "out_of_memory"),
        (ResponseError("LOADING Redis is loading the dataset in memory"), "LOADING", "loading"),
        (ResponseError("BUSY Redis is busy running a script."), "BUSY", "busy"),
        (NoPermissionError("User x has no permissions to run the 'xadd' command"), "NOPERM", "no_permission"),
        (ResponseError(IN_A_SCRIPT % "The user executing the script can't run this"), "NOPERM", "no_permission"),
        (ResponseError("ACL failure in script: No permissions to access a key"), "NOPERM", "no_permission"),
        (AuthenticationError("Authentication required.", status_code="NOAUTH"), "NOAUTH", "login_refused"),
        (AuthenticationError("invalid password"), "WRONGPASS", "login_refused"),
        (RedisConnectionError("max number of clients reached"), "", "too_many_clients"),
        (RedisConnectionError("No connection available."), "", "no_free_connection"),
        (RedisConnectionError("Connection closed by server."), "", "connection"),
        (RedisTimeoutError("Timeout reading from socket"), "", "connection"),
        (ResponseError("no such key"), "", ""),
        (ResponseError("NOGROUP No such key 'a' or consumer group 'b'"), "", ""),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "", "unknown"),
        (ResponseError("DB index is out of range"), "", "unknown"),
        (ResponseError("unknown command 'evalsha', with args beginning with: 'secret'"), "", "unknown_command"),
        (InvalidResponse('Protocol error, got "<" as reply type byte'), "", "not_redis"),
    ],
)  # fmt: skip
def test_an_error_of_redis_means_what_it_says(error: RedisError, word: str, reason: str) -> None:
    assert (word_of(error), wants_reconnect(error)) == (word, reason == "read_only")
    with pytest.raises(StoreUnavailable if reason else ResponseError) as raised, redis_errors():
        raise error
    assert getattr(raised.value, "reason", "") == reason
    assert not reason or "secret" not in str(raised.value)


async def test_a_demoted_redis_is_503_and_the_gateway_comes_back_when_it_is_promoted(
    start_gateway: StartGateway, own_redis: RedisServer, keys: Keys
) -> None:
    gateway = await start_gateway(redis_url=own_redis.url)
    operator: Any
    async with Redis.from_url(own_redis.url) as operator:
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202
        await operator.replicaof("127.0.0.1", "1")
        for _ in range(3):
            answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
            assert (answer.status, (await answer.json())["type"]) == (503, "urn:millstream:problem:queue-unavailable")
        await operator.replicaof("NO", "ONE")
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202


async def test_a_redis_that_cannot_save_is_503_until_it_can(
    start_gateway: StartGateway, own_redis: RedisServer
) -> None:
    gateway = await start_gateway(redis_url=own_redis.url)
    async with Redis.from_url(own_redis.url) as operator:
        await operator.config_set("min-replicas-to-write", 1)  # NOREPLICAS, a cousin of MISCONF that can be had at once
        answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
        assert answer.status == 503
        await operator.config_set("min-replicas-to-write", 0)
        assert (await gateway.post(f"{PREDICT}?wait=0", json=BODY)).status == 202


async def test_a_silent_network_is_noticed_and_its_end_too(
    start_gateway: StartGateway, own_redis: RedisServer, proxy: Proxy, keys: Keys
) -> None:
    gateway = await start_gateway(redis_url=f"redis://127.0.0.1:{proxy.port}/0", redis_timeout_ms=2000)
    assert await is_ready(gateway)
    proxy.set(Mode.BLACKHOLE)
    began = time.monotonic()

    async def red() -> bool:
        asked = time.monotonic()
        status = (await gateway.get("/livez")).status
        assert status == 200 and time.monotonic() - asked < 1.9, "probes wait for no Redis, which takes 2 s"
        return not await is_ready(gateway)

    await eventually(red, "the silence of the hints is noticed")
    assert time.monotonic() - began < 7
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
    assert answer.status == 503
    began = time.monotonic()
    health = await (await gateway.get("/health")).json()
    assert health["reasons"]["redis"] and time.monotonic() - began < 4
    proxy.set(Mode.FORWARD)
    healed = time.monotonic()
    await eventually(lambda: is_ready(gateway), "it is back")
    assert time.monotonic() - healed < 5
    async with Redis.from_url(own_redis.url) as direct:
        asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
        await HandWorker(direct, keys).serve_one()
        assert (await asked).status == 200


async def test_hints_do_not_spin_when_their_connection_ends_as_a_time_out(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's keepalive ends a connection with ETIMEDOUT, which redis-py takes for "no message yet"."""
    looks = 0

    async def at_once(*_: object, **__: object) -> Any:
        nonlocal looks
        looks += 1
        return {"type": "subscribe"} if looks == 1 else None

    monkeypatch.setattr(PubSub, "get_message", at_once)
    with pytest.raises(StoreUnavailable, match="broken"):
        async for _ in PredictionStates(shard_of("gateway", redis, keys), "gw").hints():
            pass
    assert looks == 2


async def test_many_at_once_wait_for_a_connection(gateway: Client) -> None:
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
    path = f"/api/v1/predictions/{(await answer.json())['prediction_id']}"

    async def status(session: aiohttp.ClientSession) -> int:
        async with session.get(gateway.make_url(path)) as found:
            return found.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        assert set(await asyncio.gather(*(status(session) for _ in range(400)))) == {200}


class ForgetsConnections(Proxy):
    """A network that forgets connections, as a firewall does of idle ones: their ends learn it as they send again."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self._forgotten: set[asyncio.StreamWriter] = set()

    def forget(self) -> None:
        """Forget those that are open."""
        self._forgotten = set(self._open)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await reader.read(65_536):
            if up and writer in self._forgotten:
                return  # which resets it
            writer.write(data)


@pytest.fixture
async def forgetful(own_redis: RedisServer) -> AsyncIterator[ForgetsConnections]:
    made = ForgetsConnections(own_redis.port)
    await made.start()
    yield made
    await made.close()


async def test_a_request_does_not_fail_for_a_connection_that_was_lost_before_it(
    start_gateway: StartGateway, own_redis: RedisServer, keys: Keys, forgetful: ForgetsConnections
) -> None:
    gateway = await start_gateway(redis_url=f"redis://127.0.0.1:{forgetful.port}/0")
    operator: Any
    async with Redis.from_url(own_redis.url) as operator:
        for accepted in (1, 2, 3):
            answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
            assert answer.status == 202, await answer.text()
            assert await operator.xlen(keys.requests("echo", "2.0.0")) == accepted  # once each
            forgetful.forget()
            assert (await gateway.get(answer.headers["Location"])).status == 200
            forgetful.forget()
