"""A command that Redis refuses within a pipeline is an error with its reason, not a value that is unpacked."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.service.settings import Settings
from shared.streams.dead_letters import DeadLetters
from shared.streams.prediction_state import PredictionStates
from shared.streams.queue_depth import Flows, sample
from shared.streams.redis_client import connect, run_pipeline
from shared.streams.redis_watch import commands_of
from shared.streams.request_stream import RequestStream
from shared.streams.shard import Shard
from shared.streams.workers import WorkerDirectory
from tests.streams import MODEL, VERSION, finished, publish, results, stream

pytestmark = pytest.mark.every_server

Limit = Callable[[str], Awaitable[Shard]]
ENDING = ("HDEL", "HINCRBY", "HMGET", "HSET", "PUBLISH", "TIME", "XACK", "XADD", "XDEL", "XLEN", "XRANGE")


@pytest.fixture
async def limited(redis: Any, redis_server: RedisServer, keys: Keys) -> AsyncIterator[Limit]:
    """A shard whose user may not run one command."""
    clients: list[tuple[str, Redis]] = []
    host = redis_server.url.removeprefix("redis://")

    async def without(command: str) -> Shard:
        user = f"user-{uuid.uuid4().hex}"
        await redis.execute_command("ACL", "SETUSER", user, "on", "nopass", "~*", "&*", "+@all", f"-{command}")
        settings = Settings(redis_url=SecretStr(f"redis://{user}:any@{host}"))
        clients.append((user, connect(settings)))
        return Shard(clients[-1][1], keys)

    yield without
    for user, client in clients:
        await client.aclose()
        await redis.execute_command("ACL", "DELUSER", user)


@pytest.mark.parametrize("command", ["time", "xreadgroup"])
async def test_a_read_that_is_refused_says_why(limited: Limit, command: str) -> None:
    requests = RequestStream(await limited(command), "echo", "1.0.0", "w1")
    await requests.join()
    with pytest.raises(StoreUnavailable, match=f"user 'user-.*' may not run {command!r}"):
        await requests.read(1, 0)


@pytest.mark.parametrize("command", ["time", "xrange", "xpending"])
async def test_looking_for_late_entries_that_is_refused_says_why(limited: Limit, command: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"user 'user-.*' may not run {command!r}"):
        await RequestStream(await limited(command), "echo", "1.0.0", "w1").unheld(["1-0"], 60_000)


@pytest.mark.parametrize("command", ["time", "info", "hkeys", "xlen", "xrange", "xpending"])
async def test_a_sample_that_is_refused_says_why(limited: Limit, keys: Keys, command: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"user 'user-.*' may not run {command!r}"):
        await sample(await limited(command), {keys.results: keys.PERSISTER_GROUP})


async def test_flows_and_workers_that_are_refused_say_why(limited: Limit, catalogue: Catalogue, keys: Keys) -> None:
    shard = await limited("xinfo")
    with pytest.raises(StoreUnavailable, match="'xinfo stream'"):
        await Flows(shard, lambda: [keys.results]).look()
    with pytest.raises(StoreUnavailable, match="'xinfo consumers'"):
        await WorkerDirectory(shard).live(catalogue.served())


@pytest.mark.parametrize(("command", "told"), [("xgroup", "xgroup create"), ("xdel", "xdel")])
async def test_a_command_that_is_refused_in_a_script_is_named(limited: Limit, command: str, told: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"user 'user-.*' may not run '{told}'") as raised:
        await RequestStream(await limited(command), "echo", "1.0.0", "w1").join()
    assert raised.value.reason == "no_permission"


async def test_a_key_and_a_channel_that_are_refused_are_told(limited: Limit, redis: Any) -> None:
    shard = await limited("ping")
    user = shard.redis.connection_pool.connection_kwargs["username"]
    await redis.execute_command("ACL", "SETUSER", user, "resetkeys", "~other:*", "resetchannels", "+ping")
    with pytest.raises(StoreUnavailable, match=f"user {user!r} may not access a key"):
        await RequestStream(shard, "echo", "1.0.0", "w1").join()
    with pytest.raises(StoreUnavailable, match=f"user {user!r} may not access a channel"):
        await anext(PredictionStates(shard, "gw").hints())


@pytest.mark.parametrize("command", [each for each in commands_of("inference_worker") if each in ENDING])
@pytest.mark.parametrize("ends", ["finished", "dead-lettered"])
async def test_what_ends_is_not_lost_whichever_right_is_taken_away(
    limited: Limit, redis: Any, keys: Keys, command: str, ends: str
) -> None:
    shard = await limited("ping")
    user = shard.redis.connection_pool.connection_kwargs["username"]
    await publish(redis, keys, "a")
    requests = RequestStream(shard, MODEL, VERSION, "w1")
    await requests.join()
    (delivery,) = (await requests.read(1, 0)).deliveries

    async def end() -> None:
        if ends == "finished":
            await requests.complete([finished(delivery)])
        else:
            await requests.dead_letter(delivery, "reason", "error")

    await redis.execute_command("ACL", "SETUSER", user, f"-{command.lower()}")
    with suppress(StoreUnavailable):
        await end()
    await redis.execute_command("ACL", "SETUSER", user, f"+{command.lower()}")
    await end()
    (result,) = await results(redis, keys)
    assert result[b"status"] == (b"succeeded" if ends == "finished" else b"failed")
    assert await redis.xlen(requests.key) == 0
    assert await redis.xlen(keys.dead) == (ends == "dead-lettered")


@pytest.mark.parametrize("command", ["xadd", "xdel", "hincrby", "zadd", "hdel", "hset"])
async def test_what_is_replayed_is_not_lost_whichever_right_is_taken_away(
    limited: Limit, redis: Any, keys: Keys, command: str
) -> None:
    await publish(redis, keys, "a")
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 0)).deliveries
    await worker.dead_letter(delivery, "reason", "error")
    letters = DeadLetters(await limited(command))
    (letter,) = await letters.page(None, 10)
    with pytest.raises(StoreUnavailable):
        await letters.replay(letter, 60_000, 10)
    assert await redis.xlen(keys.dead) == 1


async def test_a_password_that_is_not_accepted_is_told(redis_server: RedisServer, keys: Keys) -> None:
    url = redis_server.url.replace("redis://", "redis://somebody:wrong@")
    client = connect(Settings(redis_url=SecretStr(url)))
    with pytest.raises(StoreUnavailable, match="does not accept the user or password of REDIS_URL") as raised:
        await WorkerDirectory(Shard(client, keys)).live([])
        await PredictionStates(Shard(client, keys), "gw").look("x")
    assert raised.value.reason == "login_refused"
    await client.aclose()


async def test_a_key_of_another_type_is_no_empty_stream(redis: Redis, keys: Keys) -> None:
    await redis.set(keys.results, "no stream")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await sample(Shard(redis, keys), {keys.results: keys.PERSISTER_GROUP})


async def test_what_is_missing_is_empty(redis: Redis, keys: Keys, catalogue: Catalogue) -> None:
    shard = Shard(redis, keys)
    found = await sample(shard, {keys.results: keys.PERSISTER_GROUP, keys.dead: ""})
    assert {(each.entries, each.pending, each.oldest_age_s) for each in found.depths.values()} == {(0, 0, 0.0)}
    assert found.memory.used > 0 and found.queues == []
    assert await Flows(shard, lambda: [keys.results]).look() == {}
    assert set((await WorkerDirectory(shard).live(catalogue.served())).values()) == {0}


@pytest.mark.parametrize("message", ["LOADING Redis is loading", "READONLY You can't write", "OOM command not allowed"])
async def test_a_server_that_cannot_answer_now_is_unavailable(message: str) -> None:
    class Pipe:
        async def execute(self, raise_on_error: bool) -> list[object]:
            return [1, ResponseError(message)]

    with pytest.raises(StoreUnavailable):
        await run_pipeline(Pipe(), expected=lambda _: False)
    assert await run_pipeline(Pipe(), expected=lambda error: message in str(error)) == [1, None]
