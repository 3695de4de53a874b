"""Results that are given again: to whom, when not, and that nothing depends on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.core.caching import Caching
from gateway.core.principal import Principal, Scope
from gateway.core.serving import Serving
from gateway.http.context import AUTHENTICATOR, CACHING, SERVING
from scripts.stack.redis import running_redis
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.streams.result_cache import LARGEST_BYTES
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything, succeeded, waiters_of
from tests.streams import memory_limit
from tests.waiting import eventually

BODY = {"model": "echo", "text": "hello"}
SECRET = "a secret of more than thirty-two characters"
EVERYTHING = frozenset(Scope)


class ByName:
    """An authenticator that believes whatever name it is told; the part after a slash is its tenant."""

    async def authenticate(self, authorization: str | None) -> Principal:
        name, _, tenant = (authorization or "").partition("/")
        return Principal(principal_id("test", name), EVERYTHING, tenant=tenant)


@pytest.fixture
def start(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> StartGateway:
    async def start(**changes: object) -> Client:
        client = await start_gateway(cache_secret=SECRET, **changes)
        monkeypatch.setattr(application_of(client)[AUTHENTICATOR], "authenticate", ByName().authenticate)
        monkeypatch.setattr(Serving, "fingerprint", lambda _, label: f"of {label}")
        return client

    return start


def caching_of(gateway: Client) -> Caching:
    found = application_of(gateway)[CACHING]
    assert found is not None
    return found


async def ask(gateway: Client, who: str = "ann/a", cache: str = "", **body: object) -> Any:
    """The answer, which the worker must give within the wait if the cache does not."""
    headers = {"Authorization": who} | ({"Cache-Control": cache} if cache else {})
    async with gateway.post("/api/v1/predict", json=BODY | body, params={"wait": "20"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def computed(gateway: Client, worker: HandWorker, outcome: Outcome | None = None, **how: Any) -> Any:
    """The answer to a request that a worker has computed."""
    asking = asyncio.create_task(ask(gateway, **how))
    await worker.serve_one(outcome)
    answer = await asking
    assert "cached" not in answer
    return answer


async def kept(redis: Redis, keys: Keys, count: int) -> None:
    async def so_many() -> bool:
        return len(await redis.keys(keys.cached("*"))) == count

    await eventually(so_many, f"{count} results are cached")


async def warm(gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, **how: Any) -> None:
    """Have a result cached: it is the second time that it is computed."""
    before = len(await redis.keys(keys.cached("*")))
    await computed(gateway, worker, **how)
    assert len(await redis.keys(keys.cached("*"))) == before
    await computed(gateway, worker, **how)
    await kept(redis, keys, before + 1)


async def test_the_third_of_the_same_is_given_the_result_and_has_a_prediction_of_its_own(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    gateway = await start()
    await warm(gateway, worker, redis, keys)
    answer = await ask(gateway, who="bob/a")
    assert (answer["cached"], answer["status"]) == (True, "succeeded")
    assert (answer["result"], answer["confidence"]) == ({"label": "GOOD"}, 0.5)
    path = f"/api/v1/predictions/{answer['prediction_id']}"
    for _ in range(2):  # from Redis, then from Postgres
        async with gateway.get(path, headers={"Authorization": "bob/a"}) as read:
            assert read.status == 200
            stored = await read.json()
            assert (stored["cached"], stored["result"]) == (True, answer["result"])
            assert stored["input"] == {"text": "hello"}
        await persist_everything(redis, keys, database_url)
    rows = await database.fetch("SELECT cached, principal FROM predictions ORDER BY id")
    assert [row["cached"] for row in rows] == [False, False, True]
    assert rows[2]["principal"] == principal_id("test", "bob")
    assert await redis.keys(keys.prediction("*")) == []


@pytest.mark.parametrize(
    "other",
    [
        {"who": "ann/b"},
        {"who": "ann"},
        {"text": "hello "},
        {"text": "Hello"},
        {"version": "1.0.0"},
        {"cache": "no-cache"},
        {"cache": "max-age=0, No-Store"},
    ],
)
async def test_anything_else_is_computed(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, other: dict[str, Any]
) -> None:
    gateway = await start()
    await warm(gateway, worker, redis, keys)
    of_version = HandWorker(redis, keys, version=str(other.get("version", "2.0.0")))
    await computed(gateway, of_version, **other)


async def commands(redis: Redis) -> Counter[str]:
    """How often Redis has done what is done for requests alone, and not from time to time, too."""
    stats = await redis.info("commandstats")
    asked = ("mget", "set", "xadd")
    return Counter({name: int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in asked})


async def test_what_another_tenant_has_cached_takes_the_way_of_what_nobody_has(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    await warm(gateway, worker, redis, keys)
    took = []
    for text in ("unknown to all", "hello", "Hello"):  # so how long it takes tells nothing; the first warms up
        before = await commands(redis)
        await computed(gateway, worker, who="eve/b", text=text)
        took.append(await commands(redis) - before)
    assert took[1] == took[2] and took[1]["mget"] == 1
    before = await commands(redis)
    assert (await ask(gateway))["cached"]
    assert await commands(redis) - before != took[1]  # a hit would have shown


async def test_what_says_no_store_is_not_kept_and_no_cache_keeps_the_new(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    for _ in range(3):
        await computed(gateway, worker, cache="no-store")
    assert await redis.keys(keys.cached("*")) == []
    await warm(gateway, worker, redis, keys)
    await computed(gateway, worker, succeeded({"label": "NEW"}), cache="no-cache")

    async def replaced() -> bool:
        return bool((await ask(gateway))["result"] == {"label": "NEW"})

    await eventually(replaced, "the new result is given")


@pytest.mark.parametrize(
    "outcome",
    [Outcome(Status.FAILED, error="no"), succeeded({"label": "x" * LARGEST_BYTES})],
    ids=["failed", "large"],
)
async def test_only_what_succeeded_and_is_small_is_kept(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, outcome: Outcome
) -> None:
    gateway = await start()
    for _ in range(3):
        asking = asyncio.create_task(gateway.post("/api/v1/predict", json=BODY, headers={"Authorization": "ann"}))
        await worker.serve_one(outcome)
        assert (await asking).status in (200, 500)
    assert await redis.keys(keys.cached("*")) == []


async def test_of_many_at_once_one_is_computed_and_each_is_stored(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    leader = asyncio.create_task(ask(gateway))
    taken = await worker.take()
    followers = [asyncio.create_task(ask(gateway, who=f"{number}/a")) for number in range(10)]
    stranger = asyncio.create_task(ask(gateway, who="eve/b"))
    of_stranger = await worker.take()  # another tenant does not follow
    await worker.finish(taken)
    await worker.finish(of_stranger, succeeded({"label": "HERS"}))
    answers = await asyncio.gather(leader, *followers)
    assert {each["result"]["label"] for each in answers} == {"GOOD"}
    assert [each.get("cached", False) for each in answers] == [False] + [True] * 10
    assert len({each["prediction_id"] for each in answers}) == 11
    assert (await stranger)["result"] == {"label": "HERS"}
    assert await redis.xlen(keys.results) == 12


async def test_who_follows_one_that_fails_is_computed_itself(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    leader = asyncio.create_task(gateway.post("/api/v1/predict", json=BODY, headers={"Authorization": "ann/a"}))
    taken = await worker.take()
    follower = asyncio.create_task(ask(gateway, who="bob/a"))
    await eventually(lambda: waiters_of(gateway).count == 2, "both are waited for")
    await worker.finish(taken, Outcome(Status.FAILED, error="no"))
    assert (await leader).status == 500
    await worker.serve_one()
    assert "cached" not in await follower


async def test_whose_wait_ends_while_it_follows_is_accepted_all_the_same(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    leader = asyncio.create_task(ask(gateway))
    taken = await worker.take()
    headers = {"Authorization": "bob/a"}
    async with gateway.post("/api/v1/predict", json=BODY, params={"wait": "0.05"}, headers=headers) as answer:
        assert answer.status == 202
        prediction_id = (await answer.json())["prediction_id"]
    await worker.finish(taken)
    await leader
    assert await worker.serve_one() == prediction_id


async def test_a_batch_computes_what_is_missing(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    await warm(gateway, worker, redis, keys)
    body = {"model": "echo", "texts": ["new", "hello", "newer", "hello"]}
    headers = {"Authorization": "ann/a"}
    asking = asyncio.create_task(gateway.post("/api/v1/predict/batch", json=body, headers=headers))
    await worker.finish(await worker.take(2), succeeded({"label": "NEW"}))
    answer = await asking
    assert answer.status == 200
    items = (await answer.json())["items"]
    assert [each["result"]["label"] for each in items] == ["NEW", "GOOD", "NEW", "GOOD"]
    assert [each.get("cached", False) for each in items] == [False, True, False, True]


async def test_an_erasure_makes_all_gateways_forget_a_tenants_results_and_no_others(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start()
    await warm(gateway, worker, redis, keys)
    await warm(gateway, worker, redis, keys, who="bob/b")
    await caching_of(gateway)._cache.forget("a")
    await caching_of(gateway).follow()
    await computed(gateway, worker)
    assert (await ask(gateway, who="bob/b"))["cached"]


async def test_without_a_fingerprint_that_all_workers_agree_on_nothing_is_kept(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    monkeypatch.setattr(Serving, "fingerprint", lambda _, label: "")
    assert application_of(gateway)[SERVING].fingerprint("echo:2.0.0") == ""
    for _ in range(3):
        await computed(gateway, worker)
    assert await redis.keys(keys.cached("*")) == []


async def test_a_cache_of_its_own_may_die_and_come_back_and_no_request_fails(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, tmp_path: Path
) -> None:
    with running_redis(tmp_path / "cache") as own:
        gateway = await start(cache_redis_url=own.url)
        async with Redis.from_url(own.url, protocol=2) as there:
            await warm(gateway, worker, there, keys)
        assert await redis.keys(keys.cached("*")) == []
        assert (await ask(gateway))["cached"]
        own.kill()
        for _ in range(3):
            await computed(gateway, worker)
        own.start()
        assert caching_of(gateway)._cache.away
        caching_of(gateway)._cache._away_until = 0.0
        async with Redis.from_url(own.url, protocol=2) as there:
            if not await there.keys(keys.cached("*")):  # what it had in memory alone is gone
                await computed(gateway, worker)
                await kept(there, keys, 1)
        assert (await ask(gateway))["cached"]


async def test_a_redis_that_is_half_full_is_left_to_requests(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start(max_memory_percent=70)
    used = int((await redis.info("memory"))["used_memory"])
    async with memory_limit(redis, used * 2):
        for _ in range(3):
            await computed(gateway, worker)
        await asyncio.gather(*caching_of(gateway)._storing)
        assert await redis.keys(keys.cached("*")) == []


async def test_a_cached_answer_counts_as_a_request_and_neither_waits_nor_costs(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "limits.toml").write_text("[profiles.default]\nrequests = {quota = 3, window_s = 3600}\nqueued = 1\n")
    gateway = await start(limit_profiles=tmp_path / "limits.toml")
    await warm(gateway, worker, redis, keys)
    assert (await ask(gateway))["cached"]
    assert await redis.hmget(keys.limits(principal_id("test", "ann")), "queued", "bytes") == [b"0", b"0"]
    async with gateway.post("/api/v1/predict", json=BODY, headers={"Authorization": "ann/a"}) as answer:
        assert answer.status == 429


async def test_who_follows_counts_as_waiting(
    start: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "limits.toml").write_text("[profiles.default]\nwaits = 1\n")
    gateway = await start(limit_profiles=tmp_path / "limits.toml")
    leader = asyncio.create_task(ask(gateway))
    taken = await worker.take()
    follower = asyncio.create_task(ask(gateway, who="bob/a"))
    await eventually(lambda: waiters_of(gateway).count == 2, "both are waited for")
    async with gateway.post("/api/v1/predict", json=BODY, headers={"Authorization": "bob/a"}) as answer:
        assert answer.status == 429
    await worker.finish(taken)
    assert (await leader)["result"] == (await follower)["result"]
    assert waiters_of(gateway).count == 0
