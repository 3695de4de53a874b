"""What consoles watch: queues, workers, the newest predictions; one look for all, nothing while nobody watches."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.api import events
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, FEED
from gateway.upkeep import feed
from shared.contract.keys import Keys
from shared.contract.version_states import State, VersionState, encode_states
from shared.streams.workers import Heartbeat
from tests.access import shard_of
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything
from tests.sse import listening

PATH = "/api/v1/events"
READER = Principal("p_reader", frozenset({Scope.READ, Scope.PREDICT}), ("echo",))
ADMIN = Principal("p_admin", frozenset(Scope))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("gateway.loops.FEED_EVERY_S", 0.1)


async def submit(gateway: Client, model: str = "echo") -> None:
    async with gateway.post("/api/v1/predict?wait=0", json={"model": model, "text": "hello"}) as answer:
        assert answer.status == 202


async def beat(redis: Redis, keys: Keys) -> None:
    states = {"echo:2.0.0": VersionState(State.READY), "noop:1.0.0": VersionState(State.LOADING)}
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "w1", 30)
    await heartbeat.beat(
        ["echo:2.0.0"], host="box", started_at="1764300000000", in_flight="3", states=encode_states(states)
    )


def acting_as(gateway: Client, monkeypatch: pytest.MonkeyPatch, principal: Principal) -> None:
    async def authenticate(_: str | None) -> Principal:
        return principal

    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)


async def test_what_is_there_is_told_at_once_and_what_changes_later(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    await submit(gateway)
    await worker.take()
    await beat(redis, keys)
    async with listening(gateway, PATH) as stream:
        queues, workers, predictions = [await stream.next() for _ in range(3)]
        assert queues and workers and predictions
        assert [each.event for each in (queues, workers, predictions)] == ["queues", "workers", "predictions"]
        echo = next(
            each
            for each in queues.body["queues"]
            if (each["model"], each["version"], each["priority"]) == ("echo", "2.0.0", "interactive")
        )
        assert (echo["depth"], echo["running"], echo["workers"]) == (1, 1, 1) and echo["oldest_s"] >= 0
        assert {"drains_per_s", "eta_s"} <= echo.keys()
        assert (queues.body["results"], queues.body["dead_letters"]) == (0, 0)
        assert workers.body["workers"] == [
            {
                "id": "w1",
                "host": "box",
                "started_at": "2025-11-28T03:20:00+00:00",
                "in_flight": 3,
                "states": {"echo:2.0.0": "ready", "noop:1.0.0": "loading"},
            }
        ]
        assert predictions.body == {"items": []}
        await submit(gateway)
        while (heard := await stream.until("queues")).body["queues"][2]["depth"] != 2:
            pass
        assert heard.number and predictions.number and heard.number > predictions.number
        await worker.serve_one()
        await persist_everything(redis, keys, database_url)
        newest = await stream.until("predictions")
        (item,) = newest.body["items"]
        assert item["status"] == "succeeded" and "input" not in item


async def test_a_caller_sees_what_it_may(
    start_gateway: StartGateway,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = await start_gateway()
    for principal in (READER, ADMIN):
        acting_as(gateway, monkeypatch, principal)
        await submit(gateway)
        await worker.serve_one()
    await persist_everything(redis, keys, database_url)
    await beat(redis, keys)
    seen: dict[str, dict[str, Any]] = {}
    for principal in (READER, ADMIN, Principal("p_predictor", frozenset({Scope.PREDICT}))):
        acting_as(gateway, monkeypatch, principal)
        async with listening(gateway, PATH) as stream:
            first = [await stream.next() for _ in range(3 if principal.may(Scope.READ) else 2)]
            seen[principal.id] = {each.event: each.body for each in first if each}
    mine, all_of_it, none = seen.values()
    assert {each["model"] for each in mine["queues"]["queues"]} == {"echo"}
    assert "dead_letters" not in mine["queues"] and all_of_it["queues"]["dead_letters"] == 0
    assert len(mine["predictions"]["items"]) == 1 and len(all_of_it["predictions"]["items"]) == 2
    assert mine["workers"]["workers"][0]["states"] == {"echo:2.0.0": "ready"}
    assert mine["workers"]["workers"][0]["host"] is None
    assert "predictions" not in none


async def test_one_look_is_for_all_and_none_is_made_for_nobody(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, looks = application_of(gateway)[FEED], 0
    look = watched._look

    async def counted(last: feed.Look | None) -> feed.Look:
        nonlocal looks
        looks += 1
        return await look(last)

    monkeypatch.setattr(watched, "_look", counted)
    await asyncio.sleep(0.3)
    assert looks == 0
    async with AsyncExitStack() as streams:
        heard = [await streams.enter_async_context(listening(gateway, PATH)) for _ in range(30)]
        await asyncio.gather(*(each.next() for each in heard))
        before = looks
        await asyncio.sleep(0.5)
        assert 1 <= looks - before <= 8
    assert await asyncio.wait_for(_forgotten(watched), 10)


async def _forgotten(watched: feed.Feed) -> bool:
    while watched._watchers.total():
        await asyncio.sleep(0.02)
    return True


async def test_so_many_may_watch_and_all_streams_end_with_the_gateway(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_WATCHERS", 1)
    async with listening(gateway, PATH) as stream:
        await stream.next()
        async with gateway.get(PATH) as refused:
            assert refused.status == 503 and "limit is 1" in (await refused.json())["detail"]
        app: web.Application = application_of(gateway)
        await app[FEED].close(app)
        assert (await stream.rest())[-1].event in ("queues", "workers", "predictions")
    async with gateway.get(PATH) as refused:
        assert refused.status == 503


async def test_without_postgres_queues_are_told_all_the_same(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway(database_url="postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(events, "BEAT_S", 0.05)
    async with listening(gateway, PATH) as stream:
        assert [(await stream.until(each)).event for each in ("queues", "predictions")] == ["queues", "predictions"]
        assert (await stream.until("")).body is None  # a beat, while nothing changes
