"""What was used: counted with the rows it counts, once, and told to whom it concerns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR
from persister.database import Database
from persister.rows import Row, row_of
from persister.settings import PersisterSettings
from shared.contract.ids import principal_id, uuid7
from shared.contract.messages import Outcome, PredictionResult, Status
from tests.gateways import Client, StartGateway, application_of

ANN, BOB = sorted(principal_id("test", each) for each in ("ann", "bob"))
DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp() * 1000)
_serial = iter(range(10**6))


def row(principal: str, model: str = "echo", status: Status = Status.SUCCEEDED, day: int = 0, attempt: int = 0) -> Row:
    outcome = Outcome(status, b"{}" if status is Status.SUCCEEDED else None, tokens=5, compute_us=1500)
    made = uuid7(NOW_MS + day * DAY_MS, next(_serial))
    return row_of(PredictionResult(made, model, "1.0.0", outcome, attempt, b'{"text":"a"}', b"{}", principal, NOW_MS))


@pytest.fixture
async def store(database_url: str) -> Any:
    found = Database(PersisterSettings(database_url=database_url))
    yield found
    await found.close()


async def counted(database: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await database.fetch(
        "SELECT principal, day - '2026-03-10', m.name, requests, failed, tokens, compute_us, input_bytes FROM usage u "
        "JOIN model_versions v ON v.id = u.model_version_id JOIN models m ON m.id = v.model_id ORDER BY 1, 2, 3"
    )
    return [tuple(each) for each in rows]


async def test_what_is_stored_is_counted_once_by_caller_day_and_version(
    store: Database, database: asyncpg.Connection
) -> None:
    batch = [row(ANN), row(ANN), row(ANN, day=1), row(BOB), row(ANN, "noop"), row(ANN, status=Status.FAILED)]
    for _ in range(2):  # the second time nothing is new
        await store.insert(batch)
    assert await counted(database) == [
        (ANN, 0, "echo", 3, 1, 15, 4500, 42),
        (ANN, 0, "noop", 1, 0, 5, 1500, 14),
        (ANN, 1, "echo", 1, 0, 5, 1500, 14),
        (BOB, 0, "echo", 1, 0, 5, 1500, 14),
    ]


async def test_a_later_attempt_is_no_further_request_but_more_compute(
    store: Database, database: asyncpg.Connection
) -> None:
    failed = row(ANN, status=Status.FAILED)
    again = failed._replace(status="succeeded", output_data="{}", attempt=1)
    for batch in ([failed], [again], [again]):
        await store.insert(batch)
    assert await counted(database) == [(ANN, 0, "echo", 1, 1, 10, 3000, 28)]


async def test_what_is_rolled_back_is_not_counted(store: Database, database: asyncpg.Connection) -> None:
    with pytest.raises(Exception, match="output_of_success"):
        await store.insert([row(ANN), row(ANN)._replace(output_data=None)])
    assert await counted(database) == []


async def test_persisters_that_count_the_same_do_not_wait_for_one_another_for_ever(
    store: Database, database: asyncpg.Connection
) -> None:
    """In whatever order their batches are, they lock what they count in one; otherwise Postgres ends one of them."""
    callers = [principal_id("test", str(number)) for number in range(30)]
    batches = [[row(each) for each in (callers if turn % 2 else reversed(callers))] for turn in range(20)]
    await asyncio.gather(*(store.insert(batch) for batch in batches))
    assert [each[3] for each in await counted(database)] == [20] * 30


async def read(gateway: Client, caller: Principal, monkeypatch: pytest.MonkeyPatch, **query: str) -> list[Any]:
    async def authenticate(_: str | None) -> Principal:
        return caller

    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    query = {"first": "2026-03-01", "last": "2026-03-20"} | query
    async with gateway.get("/api/v1/usage", params=query) as answer:
        assert answer.status == 200, await answer.text()
        return [
            (each["day"], each["model"], each["requests"], each["compute_s"]) for each in (await answer.json())["items"]
        ]


async def test_each_sees_its_own_and_who_may_read_all_sees_the_sum(
    start_gateway: StartGateway, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway()
    await store.insert([row(ANN), row(ANN), row(BOB), row(ANN, "noop", day=1)])
    ann, nobody = Principal(ANN, frozenset({Scope.READ})), Principal("p_other", frozenset({Scope.READ}))
    all_of_echo = Principal("p_auditor", frozenset({Scope.READ_ALL}), models=("echo",))
    auditor = Principal("p_auditor", frozenset({Scope.READ_ALL}))
    hers = [("2026-03-11", "noop", 1, 0.0015), ("2026-03-10", "echo", 2, 0.003)]
    assert await read(gateway, ann, monkeypatch) == hers
    assert await read(gateway, ann, monkeypatch, principal=ANN) == hers
    assert await read(gateway, ann, monkeypatch, principal=BOB) == []
    assert await read(gateway, nobody, monkeypatch) == []
    assert await read(gateway, auditor, monkeypatch) == [hers[0], ("2026-03-10", "echo", 3, 0.0045)]
    assert await read(gateway, auditor, monkeypatch, principal=BOB) == [("2026-03-10", "echo", 1, 0.0015)]
    assert await read(gateway, all_of_echo, monkeypatch) == [("2026-03-10", "echo", 3, 0.0045)]
    assert await read(gateway, ann, monkeypatch, last="2026-03-10") == hers[1:]


@pytest.mark.parametrize("day", ["0", "1764201600", "2026-13-01", "20261127", "today", ""])
async def test_a_day_is_a_day(gateway: Client, day: str) -> None:
    async with gateway.get("/api/v1/usage", params={"last": day}) as answer:
        assert answer.status == 422, await answer.text()


@pytest.mark.parametrize(
    "query", [{"first": "2026-01-01", "last": "2026-04-11"}, {"first": "2026-03-02", "last": "2026-03-01"}]
)
async def test_a_range_is_bounded(gateway: Client, query: dict[str, str]) -> None:
    async with gateway.get("/api/v1/usage", params=query) as answer:
        assert answer.status == 422
        assert "must be at most 99 days before `last`" in (await answer.json())["detail"]
