"""Callbacks: signed, delivered at least once though receivers fail, to no private network, given up after a day."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from redis.asyncio import Redis
from standardwebhooks import Webhook

from persister import webhooks
from persister.database import Database
from persister.outbox import Outbox
from persister.settings import PersisterSettings
from persister.webhook_sender import Undelivered, WebhookSender
from persister.webhooks import Webhooks
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.streams.result_stream import ResultStream
from tests.access import database_url_of, shard_of
from tests.gateways import Client, HandWorker, StartGateway, persist_everything
from tests.waiting import eventually

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
HOSTS = ("127.0.0.1", "localhost", "hooks.example")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.05,))


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Client:
    return await start_gateway(callback_hosts=",".join(HOSTS), callback_private_networks=True)


class Receiver:
    """Somebody who is told.

    Attributes:
        heard: verified bodies, by message id.
    """

    def __init__(self, statuses: list[int] | None = None, delay_s: float = 0) -> None:
        self._statuses, self._delay_s = statuses or [], delay_s
        self.heard: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        message_id = request.headers["webhook-id"]
        self.asked[message_id] += 1
        await asyncio.sleep(self._delay_s)
        if self._statuses:
            return web.Response(
                status=self._statuses.pop(0), headers={"Location": str(request.url.with_path("/other"))}
            )
        self.heard[message_id] = Webhook(SECRET).verify(await request.read(), dict(request.headers))
        return web.Response()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        server = TestServer(app)
        await server.start_server()
        self.url = f"http://127.0.0.1:{server.port}/hook"
        try:
            yield self
        finally:
            await server.close()


@asynccontextmanager
async def delivering(
    redis: Redis, keys: Keys, database_url: str, hosts: tuple[str, ...] = HOSTS, *, private: bool = True
) -> AsyncIterator[None]:
    """A persister's loop of callbacks."""
    database = Database(PersisterSettings(database_url=database_url_of("persister", database_url)))
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    loop = Webhooks(Outbox(database.postgres), WebhookSender(SECRET, hosts, private=private), stream, Liveness(30))
    stop = asyncio.Event()
    task = asyncio.create_task(loop.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)
        await database.close()


async def predicted(gateway: Client, worker: HandWorker, url: str, count: int = 1) -> list[str]:
    """Predictions that are finished, with a callback."""
    body = {"model": "echo", "texts": ["hello"] * count, "callback_url": url, "tags": {"a": "b"}}
    async with gateway.post("/api/v1/predict/batch?wait=0", json=body) as answer:
        assert answer.status == 202, await answer.text()
        ids = [each["prediction_id"] for each in (await answer.json())["items"]]
    await worker.finish(await worker.take(count))
    return ids


async def test_a_receiver_that_fails_at_first_gets_each_callback(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    async with Receiver([500, 503, 404, 302]).listening() as receiver:
        ids = await predicted(gateway, worker, receiver.url, 5)
        await persist_everything(redis, keys, database_url)
        async with delivering(redis, keys, database_url), delivering(redis, keys, database_url):
            await eventually(lambda: _empty(database), "each is delivered")
        assert {f"{each}.0" for each in ids} == set(receiver.heard)
        assert sum(receiver.asked.values()) == 9  # four failed, and what one persister had in hand no other did
        told = receiver.heard[f"{ids[0]}.0"]
        assert told["type"] == "prediction.succeeded" and told["timestamp"]
        assert told["data"]["prediction_id"] == ids[0] and told["data"]["result"] == {"label": "GOOD"}
        assert told["data"]["tags"] == {"a": "b"} and "input" not in told["data"]


async def test_a_slow_receiver_holds_up_no_other(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    async with Receiver(delay_s=30).listening() as slow, Receiver().listening() as quick:
        await predicted(gateway, worker, slow.url, 60)
        await predicted(gateway, worker, quick.url.replace("127.0.0.1", "localhost"))
        await persist_everything(redis, keys, database_url)
        async with delivering(redis, keys, database_url):
            await eventually(lambda: quick.heard, "the other is told")
            assert 0 < sum(slow.asked.values()) < 8


async def test_what_fails_for_a_day_is_a_dead_letter(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    async with Receiver([500, 410]).listening() as receiver:
        ids = await predicted(gateway, worker, receiver.url, 2)
        await persist_everything(redis, keys, database_url)
        await database.execute("UPDATE webhooks SET created_at = now() - interval '25 hours'")
        async with delivering(redis, keys, database_url):
            await eventually(lambda: _empty(database), "both are given up")
    async with gateway.get("/api/v1/dead-letters") as answer:
        letters = (await answer.json())["items"]
    assert {(each["source"], each["reason"], each["replayable"]) for each in letters} == {
        ("webhooks", "webhook_undelivered", False)
    }
    assert {(each["prediction_id"], each["model"], each["attempt"]) for each in letters} == {
        (each, "echo", 0) for each in ids
    }
    told = " ".join(each["error"] for each in letters)
    assert all(f"the callback of {each} to 127.0.0.1 was given up: answered: " in told for each in ids)
    assert "answered: 500" in told and "answered: 410" in told
    path = f"/api/v1/dead-letters/{letters[0]['dead_letter_id']}"
    async with gateway.post(f"{path}/replay") as answer:
        assert answer.status == 409 and "it is of a callback" in (await answer.json())["detail"]
    for status in (204, 404):
        async with gateway.delete(path) as answer:
            assert answer.status == status
    async with gateway.get("/api/v1/dead-letters") as answer:
        assert (await answer.json())["items"] == letters[1:]


async def test_how_a_callback_stands_is_told_with_its_prediction(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    async def read(prediction_id: str) -> dict[str, Any]:
        async with gateway.get(f"/api/v1/predictions/{prediction_id}") as answer:
            return dict((await answer.json())["callback"])

    statuses = [500]
    async with Receiver(statuses).listening() as receiver:
        url = f"{receiver.url}?token=secret"
        body = {"model": "echo", "text": "hello", "callback_url": url}
        async with gateway.post("/api/v1/predict?wait=0", json=body) as answer:
            first = (await answer.json())["prediction_id"]
        waits = {"url": f"{receiver.url}?…", "state": "waiting", "attempts": 0}
        assert await read(first) == waits  # while it is queued
        await worker.finish(await worker.take())
        assert await read(first) == waits  # while only Redis has it
        await persist_everything(redis, keys, database_url)
        assert await read(first) == waits
        await database.execute("UPDATE webhooks SET tries = 2, last_error = 'answered: 503'")
        assert await read(first) == {**waits, "attempts": 2, "last_error": "answered: 503"}
        async with delivering(redis, keys, database_url):
            await eventually(lambda: _empty(database), "it is delivered, the second time")
            assert await read(first) == {"url": f"{receiver.url}?…", "state": "delivered"}
            statuses.append(410)
            (second,) = await predicted(gateway, worker, url)
            await persist_everything(redis, keys, database_url)
            await eventually(lambda: _empty(database), "it is given up")
    assert await read(second) == {"url": f"{receiver.url}?…", "state": "failed", "last_error": "answered: 410"}


async def test_what_a_caller_is_told_names_no_address() -> None:
    sender = WebhookSender(SECRET, HOSTS, private=True)
    with pytest.raises(Undelivered, match="^no connection to localhost$") as told:
        await sender.send("http://localhost:1/x", "m", b"{}")
    assert "127.0.0.1" in told.value.detail or "::1" in told.value.detail
    await sender.close()


async def _empty(database: asyncpg.Connection) -> bool:
    return bool(await database.fetchval("SELECT count(*) FROM webhooks") == 0)


async def test_what_was_erased_meanwhile_is_not_told(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    async with Receiver().listening() as receiver:
        await predicted(gateway, worker, receiver.url)
        await persist_everything(redis, keys, database_url)
        await database.execute("DELETE FROM predictions")
        async with delivering(redis, keys, database_url):
            await eventually(lambda: _empty(database), "it is forgotten")
        assert not receiver.asked


async def test_a_url_that_may_not_be_told_is_refused_in_words(start_gateway: StartGateway) -> None:
    gateway, off = await start_gateway(callback_hosts="*"), await start_gateway()
    for url, words in {
        "https://127.0.0.1/x": "private network",
        "https://[::ffff:10.0.0.1]/x": "private network",
        "https://169.254.169.254/latest": "private network",
        "https://2130706433/": "name or an address",
        "https://127.1/": "name or an address",
        "http://hooks.example/x": "https",
        "https://u:p@hooks.example/": "without a user",
        "ftp://hooks.example/": "https",
        "no url": "visible ASCII",
    }.items():
        async with gateway.post("/api/v1/predict", json={"model": "echo", "text": "a", "callback_url": url}) as answer:
            body = await answer.json()
            assert answer.status == 422 and words in body["errors"][0]["msg"], (url, body)
            assert body["errors"][0]["loc"] == ["body", "callback_url"]
    body = {"model": "echo", "text": "a", "callback_url": "https://hooks.example/"}
    async with off.post("/api/v1/predict", json=body) as answer:
        assert answer.status == 422 and "CALLBACK_HOSTS" in await answer.text()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_nothing_is_sent_to_a_private_address(host: str) -> None:
    sender = WebhookSender(SECRET, ("*",), private=False)
    with pytest.raises(Undelivered, match="private network"):
        await sender.send(f"https://{host}:1/x", "m", b"{}")
    await sender.close()


async def test_a_redirect_is_not_followed() -> None:
    async with Receiver([302]).listening() as receiver:
        sender = WebhookSender(SECRET, HOSTS, private=True)
        with pytest.raises(Undelivered, match="redirects are not followed: 302"):
            await sender.send(receiver.url, "m", b"{}")
        assert receiver.asked.total() == 1
        await sender.close()


async def test_a_name_that_changes_between_look_ups_is_connected_to_as_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, looked, connected = asyncio.get_running_loop(), [], []
    answers = ["93.184.216.34", "127.0.0.1", "127.0.0.1"]

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        looked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    async def sock_connect(_: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    sender = WebhookSender(SECRET, ("hooks.example",), private=False)
    with pytest.raises(Undelivered, match="hooks.example"):
        await sender.send("https://hooks.example/x", "m", b"{}")
    assert (looked, connected) == (["hooks.example"], [("93.184.216.34", 443)])
    with pytest.raises(Undelivered, match="^hooks.example leads to an address of a private network$") as told:
        await sender.send("https://hooks.example/x", "m", b"{}")
    assert told.value.detail == "hooks.example leads to 127.0.0.1, an address of a private network"
    assert len(looked) == 2 and len(connected) == 1
    await sender.close()


async def test_a_name_of_which_one_address_is_private_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        found = ("93.184.216.34", "10.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    sender = WebhookSender(SECRET, ("hooks.example",), private=False)
    with pytest.raises(Undelivered, match="private network"):
        await sender.send("https://hooks.example/x", "m", b"{}")
    await sender.close()
