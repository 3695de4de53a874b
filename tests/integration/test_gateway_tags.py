"""Tags, times and statuses: how predictions are found again, whether they are finished or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from shared.contract.queues import Priority, Queue
from shared.contract.tags import MOST_TAGS
from shared.streams.waiting import EntryId, Page, Waiting, merged
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything

PREDICT, PREDICTIONS = "/api/v1/predict", "/api/v1/predictions"
BODY = {"model": "echo", "text": "hello"}
TAGS = {"team": "search", "run": "2026-11-28 a:b"}


async def accept(gateway: Client, by: str = "", **body: Any) -> str:
    """Accept a prediction without waiting for it; the answer is its id."""
    headers = {"Authorization": by} if by else {}
    async with gateway.post(f"{PREDICT}?wait=0", json=BODY | body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["prediction_id"])


async def listed(gateway: Client, by: str = "", **query: str) -> list[dict[str, Any]]:
    """A list, over all its pages."""
    items: list[dict[str, Any]] = []
    headers = {"Authorization": by} if by else {}
    while True:
        async with gateway.get(PREDICTIONS, params=query, headers=headers) as answer:
            page = await answer.json()
            assert answer.status == 200, page
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]


async def ids(gateway: Client, by: str = "", **query: str) -> list[str]:
    """The ids of a list, over all its pages."""
    return [each["prediction_id"] for each in await listed(gateway, by, **query)]


# --- tags --------------------------------------------------------------------------------------------------------


async def test_tags_are_kept_shown_and_found_by_wherever_the_prediction_is(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    tagged, other, bare = (
        await accept(gateway, tags=TAGS),
        await accept(gateway, tags={"team": "x"}),
        await accept(gateway),
    )
    assert await ids(gateway, status="queued", tag="team:search") == [tagged]
    assert await ids(gateway, status="queued", tag="run:2026-11-28 a:b") == [tagged]
    assert [each.get("tags") for each in await listed(gateway, status="queued")] == [None, {"team": "x"}, TAGS]
    await worker.finish(await worker.take(3))
    path = f"{PREDICTIONS}/{tagged}"
    assert (await (await gateway.get(path)).json())["tags"] == TAGS
    await persist_everything(redis, keys, database_url)
    assert (await (await gateway.get(path)).json())["tags"] == TAGS
    assert "tags" not in await (await gateway.get(f"{PREDICTIONS}/{bare}")).json()
    for query in ({}, {"model": "echo"}, {"status": "succeeded"}):
        assert await ids(gateway, tag="team:search", **query) == [tagged]
        assert await ids(gateway, tag="team:x", **query) == [other]
        assert await ids(gateway, tag="team:searc", **query) == []
    assert await database.fetchval("SELECT count(*) FROM predictions WHERE tags IS NULL") == 1


async def test_a_batch_has_its_tags_on_each(gateway: Client, worker: HandWorker) -> None:
    body = {"model": "echo", "texts": ["a", "b"], "tags": {"team": "search"}, "priority": "batch"}
    async with gateway.post(f"{PREDICT}/batch?wait=0", json=body) as answer:
        accepted = [each["prediction_id"] for each in (await answer.json())["items"]]
    found = await listed(gateway, status="queued", tag="team:search")
    assert sorted(each["prediction_id"] for each in found) == sorted(accepted)
    assert {each["priority"] for each in found} == {"batch"}


@pytest.mark.parametrize(
    "tags",
    [
        {f"key{number}": "a" for number in range(MOST_TAGS + 1)},
        {"a" * 33: "a"},
        {"a": "a" * 65},
        {"a b": "a"},
        {"": "a"},
        {"a": ""},
        {"a": 'a"'},
        {"a": 1},
        {"a": None},
        ["a"],
    ],
)
async def test_what_are_no_tags_is_refused_with_its_place(gateway: Client, tags: object) -> None:
    async with gateway.post(PREDICT, json={**BODY, "tags": tags}) as answer:
        problem = await answer.json()
    assert answer.status == 422 and problem["errors"][0]["loc"][:2] == ["body", "tags"], problem


@pytest.mark.parametrize("query", [{"tag": "a"}, {"tag": ":a"}, {"since": "2026"}, {"status": "queued", "cursor": "x"}])
async def test_what_cannot_be_looked_for_is_refused(gateway: Client, query: dict[str, str]) -> None:
    async with gateway.get(PREDICTIONS, params=query) as answer:
        assert answer.status == 422


# --- times -------------------------------------------------------------------------------------------------------


async def test_what_was_accepted_in_a_time_is_found(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    prediction_id = await accept(gateway)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    before, after = (now - hour).isoformat(), (now + hour).isoformat()

    async def found(**query: str) -> None:
        assert await ids(gateway, since=before, until=after, **query) == [prediction_id]
        assert await ids(gateway, since=after, **query) == await ids(gateway, until=before, **query) == []
        far = {"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-12:00"}
        assert await ids(gateway, **far, **query) == [prediction_id]

    await found(status="queued")
    await worker.serve_one()
    await persist_everything(redis, keys, database_url)
    await found()


# --- what is not finished ----------------------------------------------------------------------------------------


async def test_what_waits_and_what_runs_is_listed_newest_first(gateway: Client, worker: HandWorker) -> None:
    accepted = [await accept(gateway) for _ in range(7)]
    accepted.append(await accept(gateway, priority="batch"))
    await worker.take(2)
    assert await ids(gateway, status="queued", limit="2") == accepted[:1:-1]
    assert await ids(gateway, status="running") == accepted[1::-1]
    assert await ids(gateway, status="queued", model="noop") == []
    first, *_ = await listed(gateway, status="queued")
    assert first.pop("queued_for_s") >= 0
    expected = {"status": "queued", "model": "echo", "version": "2.0.0", "priority": "batch"}
    assert first == {"prediction_id": accepted[-1], **expected}
    async with gateway.get(PREDICTIONS, params={"status": "queued", "model": "nobody"}) as answer:
        assert answer.status == 404


async def test_everybody_finds_the_own_behind_many_of_others(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, worker: HandWorker
) -> None:
    gateway = await start_gateway()
    scopes = {"ann": {Scope.PREDICT, Scope.READ}, "bob": {Scope.PREDICT, Scope.READ}, "all": {Scope.READ_ALL}}

    async def authenticate(name: str | None) -> Principal:
        return Principal(principal_id("test", name or ""), frozenset(scopes[name or ""]))

    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    hers = await accept(gateway, "ann")
    for _ in range(3):
        body = {"model": "echo", "texts": ["a"] * 100}
        async with gateway.post(f"{PREDICT}/batch?wait=0", json=body, headers={"Authorization": "bob"}) as answer:
            assert answer.status == 202
    async with gateway.get(PREDICTIONS, params={"status": "queued"}, headers={"Authorization": "ann"}) as answer:
        page = await answer.json()
    assert page["items"] == [] and page["next_cursor"]  # a look is bounded
    assert await ids(gateway, "ann", status="queued") == [hers]
    assert len(await ids(gateway, "all", status="queued", limit="100")) == 301


def test_pages_of_several_streams_are_merged_down_to_where_each_was_looked_at() -> None:
    def page(end: int | None, *entries: int) -> Page:
        queue = Queue("m", "1", Priority.INTERACTIVE)
        items = [Waiting(EntryId(each, 0), str(each), queue, "", b"", 0) for each in entries]
        return Page(items, None if end is None else EntryId(end, 0))

    def shown(found: Page) -> tuple[list[int], int | None]:
        return [each.entry.ms for each in found.items], found.below and found.below.ms

    assert shown(merged([page(None, 9, 5), page(None, 7)], 10)) == ([9, 7, 5], None)
    assert shown(merged([page(None, 9, 5), page(7, 8, 7)], 10)) == ([9, 8, 7], 7)
    assert shown(merged([page(None, 9, 5), page(None, 7)], 2)) == ([9, 7], 7)
    assert shown(merged([page(None, 9, 7), page(None, 7)], 2)) == ([9, 7, 7], 7)
    assert shown(merged([page(6), page(None, 5)], 2)) == ([], 6)
    assert shown(merged([], 2)) == ([], None)
