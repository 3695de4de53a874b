"""What callers are told and held to over HTTP, by several gateways together."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from tests.gateways import Client, HandWorker, StartGateway, application_of, waiters_of
from tests.waiting import eventually

BODY = {"model": "echo", "text": "hello"}
ALL = frozenset({Scope.PREDICT, Scope.READ})
PROFILES = """
[profiles.default]
requests = {quota = 20, window_s = 3600}
[profiles.queued]
queued = 2
waits = 1
[profiles.reads]
reads = {quota = 3, window_s = 3600}
[weights]
noop = 20
"""


class ByName:
    """An authenticator that believes whatever name it is told; the part after a slash is its profile."""

    async def authenticate(self, authorization: str | None) -> Principal:
        name, _, profile = (authorization or "").partition("/")
        return Principal(principal_id("test", name), ALL, profile=profile)


@pytest.fixture
def start(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StartGateway:
    path = tmp_path / "limits.toml"
    path.write_text(PROFILES)

    async def start(**changes: object) -> Client:
        client = await start_gateway(limit_profiles=path, **changes)
        monkeypatch.setattr(application_of(client)[AUTHENTICATOR], "authenticate", ByName().authenticate)
        return client

    return start


async def submit(gateway: Client, caller: str, wait: str = "0", **body: str) -> int:
    headers = {"Authorization": caller}
    async with gateway.post("/api/v1/predict", json=BODY | body, params={"wait": wait}, headers=headers) as answer:
        return answer.status


async def test_twenty_callers_of_two_gateways_get_what_is_theirs_and_no_more(
    start: StartGateway, redis: Redis, keys: Keys
) -> None:
    """10,000 requests, in a window that gives hardly anything back: a caller gets its burst, to the unit."""
    gateways = [await start(max_backlog=10_000), await start(max_backlog=10_000)]
    asked = [(gateways[number % 2], f"caller {number % 20}") for number in range(10_000)]
    given: Counter[tuple[str, int]] = Counter()

    async def one_after_another(share: list[tuple[Client, str]]) -> None:
        for gateway, caller in share:
            given[caller, await submit(gateway, caller)] += 1

    await asyncio.gather(*(one_after_another(asked[first::40]) for first in range(40)))
    assert given == Counter(
        {(f"caller {number}", status): count for number in range(20) for status, count in ((202, 20), (429, 480))}
    )
    assert await redis.xlen(keys.requests("echo", "2.0.0")) == 400


async def test_an_answer_tells_what_is_left_and_a_refusal_when_to_try_again(start: StartGateway) -> None:
    gateway = await start()
    headers, query = {"Authorization": "ann"}, {"wait": "0"}
    async with gateway.post("/api/v1/predict", json=BODY, params=query, headers=headers) as answer:
        assert answer.status == 202
        assert answer.headers["RateLimit-Policy"] == '"requests";q=20;w=3600'
        assert answer.headers["RateLimit"] == '"requests";r=19;t=180'
    batch = {"model": "echo", "texts": ["a"] * 20}
    async with gateway.post("/api/v1/predict/batch", json=batch, params=query, headers=headers) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) in (179, 180)
        assert answer.headers["RateLimit"].startswith('"requests";r=19;')
        problem = await answer.json()
        assert (problem["type"], problem["title"]) == ("urn:millstream:problem:limit-requests", "Too many requests")
        assert "you may send 20 in 3600 s, and this counts as 20" in problem["detail"]
    async with gateway.post("/api/v1/predict", json=BODY | {"model": "noop"}, headers=headers) as answer:
        assert answer.status == 429, "a request to a heavy model counts as twenty"
    batch = {"model": "echo", "texts": ["a"] * 21}
    async with gateway.post("/api/v1/predict/batch", json=batch, params=query, headers=headers) as answer:
        assert answer.status == 429 and "Retry-After" not in answer.headers
        assert (await answer.json())["detail"].endswith("send less at once")


async def test_what_waits_of_a_caller_is_bounded_and_ends_with_it(start: StartGateway, worker: HandWorker) -> None:
    gateway = await start()
    assert [await submit(gateway, "ann/queued") for _ in range(3)] == [202, 202, 429]
    assert await submit(gateway, "bob/queued") == 202
    await worker.finish(await worker.take(3))
    assert await submit(gateway, "ann/queued") == 202


async def test_who_waits_for_much_is_told_to_ask_without_waiting(start: StartGateway, worker: HandWorker) -> None:
    gateway = await start()
    waiting = asyncio.create_task(submit(gateway, "ann/queued", wait="60"))

    async def waits() -> bool:
        return waiters_of(gateway).count == 1

    await eventually(waits, "the gateway waits")
    assert await submit(gateway, "ann/queued", wait="60") == 429
    assert await submit(gateway, "ann/queued", wait="0") == 202
    await worker.serve_one()
    assert await waiting == 200
    assert not waiters_of(gateway)._of_caller


async def test_reads_are_limited_and_writing_is_not_reading(start: StartGateway) -> None:
    gateway, headers = await start(), {"Authorization": "ann/reads"}
    for expected in (200, 200, 200, 429, 429):
        async with gateway.get("/api/v1/models", headers=headers) as answer:
            assert answer.status == expected
    assert answer.headers["RateLimit-Policy"] == '"reads";q=3;w=3600'
    assert answer.headers["Retry-After"] == "1200"
    assert await submit(gateway, "ann/reads") == 202
    async with gateway.get("/api/v1/models", headers={"Authorization": "bob/reads"}) as answer:
        assert answer.status == 200
