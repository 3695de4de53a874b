"""The history: every stored prediction once, newest first, by indexes and never by counting past what was shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from gateway.core import history
from gateway.core.history import NEWEST, OLDEST
from gateway.http.context import HISTORY
from persister.database import Database
from persister.partitions import months_from
from persister.settings import PersisterSettings
from shared.contract.ids import first_id_of_month
from tests.gateways import Client, application_of, store

PREDICTIONS = "/api/v1/predictions"


async def page(gateway: Client, **query: str | int | None) -> tuple[list[dict[str, Any]], str | None]:
    """One page: its items and the next cursor."""
    answer = await gateway.get(PREDICTIONS, params={name: value for name, value in query.items() if value is not None})
    assert answer.status == 200, await answer.text()
    body = await answer.json()
    assert set(body) == {"items", "next_cursor"}
    return body["items"], body["next_cursor"]


async def walk(gateway: Client, **query: str | int | None) -> list[list[str]]:
    """The ids of all pages."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        items, cursor = await page(gateway, **query, cursor=cursor)
        pages.append([each["prediction_id"] for each in items])
    return pages


async def test_an_empty_history_is_an_empty_page(gateway: Client) -> None:
    assert await page(gateway) == ([], None)
    assert await page(gateway, model="echo") == ([], None)


async def test_of_many_that_read_when_a_check_is_due_one_checks(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await page(gateway) == ([], None)  # the first one checks
    checks = 0

    async def count(*_: object, **__: object) -> None:
        nonlocal checks
        checks += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(history, "check", count)
    monkeypatch.setattr(application_of(gateway)[HISTORY], "_checked_until", 1.0)
    await asyncio.gather(*(page(gateway) for _ in range(20)))
    assert checks == 1


async def test_a_walk_shows_each_row_once_newest_first(gateway: Client, database: asyncpg.Connection) -> None:
    ids = await store(database, 20, "echo", "1.0.0") + await store(database, 15, "echo", "2.0.0")
    ids += await store(database, 10, "noop", "1.0.0")
    pages = await walk(gateway, limit=10)
    assert [len(each) for each in pages] == [10, 10, 10, 10, 5]
    assert [each for ids_of_page in pages for each in ids_of_page] == sorted(ids, reverse=True)


async def test_a_page_that_is_exactly_full_is_the_last(gateway: Client, database: asyncpg.Connection) -> None:
    await store(database, 6, "echo", "1.0.0")
    assert [len(each) for each in await walk(gateway, limit=3)] == [3, 3]
    assert [len(each) for each in await walk(gateway, limit=6, model="echo")] == [6]


@pytest.mark.parametrize(("kilobytes", "pages"), [(300, [26, 14]), (5_000, [1] * 4), (9_000, [1] * 4)])
async def test_a_page_of_large_results_is_short(
    gateway: Client, database: asyncpg.Connection, kilobytes: int, pages: list[int]
) -> None:
    ids = await store(database, sum(pages), "echo", "1.0.0")
    await database.execute(
        "UPDATE predictions SET output_data = jsonb_build_object('text', repeat('x', $1))", kilobytes * 1000
    )
    walked = await walk(gateway, limit=100)
    assert [len(each) for each in walked] == pages
    assert [each for ids_of_page in walked for each in ids_of_page] == sorted(ids, reverse=True)


async def test_ten_are_shown_unless_more_are_asked_for(gateway: Client, database: asyncpg.Connection) -> None:
    await store(database, 101, "echo", "1.0.0")
    assert len((await page(gateway))[0]) == 10
    items, cursor = await page(gateway, limit=100)
    assert len(items) == 100 and cursor == items[-1]["prediction_id"]
    assert len((await page(gateway, cursor=cursor))[0]) == 1


async def test_rows_that_arrive_during_a_walk_do_not_shift_it(gateway: Client, database: asyncpg.Connection) -> None:
    ids = await store(database, 9, "echo", "1.0.0")
    items, cursor = await page(gateway, limit=3)
    await store(database, 5, "echo", "1.0.0", since_ms=9_999_999_999_999)
    rest: list[list[str]] = []
    while cursor is not None:
        more, cursor = await page(gateway, limit=3, cursor=cursor)
        rest.append([each["prediction_id"] for each in more])
    assert [each["prediction_id"] for each in items] + sum(rest, []) == sorted(ids, reverse=True)


async def test_filters_by_model_version_and_status_combine(gateway: Client, database: asyncpg.Connection) -> None:
    good = await store(database, 5, "echo", "1.0.0")
    bad = await store(database, 4, "echo", "1.0.0", "failed")
    newer = await store(database, 3, "echo", "2.0.0")
    other = await store(database, 2, "noop", "1.0.0", "expired")

    async def shown(**query: str) -> list[str]:
        return [each for ids in await walk(gateway, limit=2, **query) for each in ids]

    assert await shown(model="echo") == sorted(good + bad + newer, reverse=True)
    assert await shown(model="echo", version="1.0.0") == sorted(good + bad, reverse=True)
    assert await shown(model="echo", version="1.0.0", status="failed") == sorted(bad, reverse=True)
    assert await shown(model="echo", status="succeeded") == sorted(good + newer, reverse=True)
    assert await shown(status="expired") == sorted(other, reverse=True)
    assert await shown(status="cancelled") == []


async def test_items_show_how_a_prediction_ended_but_not_what_was_asked(
    gateway: Client, database: asyncpg.Connection
) -> None:
    (good,) = await store(database, 1, "echo", "1.0.0")
    (bad,) = await store(database, 1, "echo", "2.0.0", "failed", since_ms=1)
    items, _ = await page(gateway)
    assert [each["prediction_id"] for each in items] == [good, bad]
    assert items[0].pop("created_at") and items[1].pop("created_at") == "1970-01-01T00:00:00.001000+00:00"
    common = {"model": "echo", "confidence": 0.5, "processing_time_ms": 7}
    assert items == [
        {"prediction_id": good, "version": "1.0.0", "status": "succeeded", "result": {"label": "GOOD"}, **common},
        {"prediction_id": bad, "version": "2.0.0", "status": "failed", "result": None, **common},
    ]


async def test_scores_come_best_first_whatever_order_postgres_keeps(
    gateway: Client, database: asyncpg.Connection
) -> None:
    (prediction_id,) = await store(database, 1, "echo", "1.0.0")
    scores = {"sadness": 0.5, "joy": 0.25, "a": 0.125, "anger": 0.0625}
    output = {"label": "sadness", "scores": scores}
    await database.execute("UPDATE predictions SET output_data = $1", json.dumps(output))
    items, _ = await page(gateway)
    found = await (await gateway.get(f"{PREDICTIONS}/{prediction_id}")).json()
    for result in (items[0]["result"], found["result"]):
        assert result == output and list(result["scores"]) == list(scores)


@pytest.mark.parametrize(
    "query", ["model=nobody", "model=echo&version=9.9.9", "model=%F0%9F%91%8B", "model='%20OR%201"]
)
async def test_the_history_of_an_unknown_model_is_404(gateway: Client, query: str) -> None:
    answer = await gateway.get(f"{PREDICTIONS}?{query}")
    assert answer.status == 404 and answer.content_type == "application/problem+json"


async def test_bytes_that_are_not_text_are_no_fault_of_ours(gateway: Client) -> None:
    for target in (b"/api/v1/predictions?model=\xff", b"/api/v1/predictions/\xff", b"/api/v1/models/\xed\xa0\x80"):
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.split()[1] in (b"400", b"404", b"422"), answer


async def test_each_page_is_planned_for_its_values(gateway: Client) -> None:
    """A plan is kept only for a statement that is prepared under a name."""
    history_of_gateway = application_of(gateway)[HISTORY]
    for _ in range(10):
        await history_of_gateway.fetch(history._PAGE, NEWEST, None, 1, None, OLDEST, None)
    assert await history_of_gateway.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []


async def test_the_history_of_an_inactive_version_is_shown(gateway: Client, database: asyncpg.Connection) -> None:
    ids = await store(database, 2, "echo", "3.0.0")
    assert await walk(gateway, model="echo", version="3.0.0") == [sorted(ids, reverse=True)]


async def test_copies_for_a_shadow_version_are_in_no_list_and_found_by_their_id(
    gateway: Client, database: asyncpg.Connection
) -> None:
    shown = await store(database, 3, "echo", "2.0.0")
    copies = await store(database, 3, "echo", "1.0.0") + await store(database, 2, "echo", "1.0.0", "failed")
    original = UUID(shown[0])
    await database.execute("UPDATE predictions SET shadow_of = $1 WHERE id = ANY($2::uuid[])", original, copies)
    for query in ({}, {"model": "echo"}):
        assert await walk(gateway, **query) == [sorted(shown, reverse=True)]
    for query in ({"model": "echo", "version": "1.0.0"}, {"status": "failed"}, {"model": "echo", "status": "failed"}):
        assert await page(gateway, **query) == ([], None)
    for each in copies:
        assert (await gateway.get(f"{PREDICTIONS}/{each}")).status == 200


def test_no_query_counts_past_rows() -> None:
    texts = [value for name, value in vars(history).items() if name.startswith("_") and isinstance(value, str)]
    queries = [each for each in texts if "SELECT" in each]
    assert len(queries) >= 4
    assert not any("OFFSET" in query.upper() for query in queries)


# --- what the database does for a page -----------------------------------------------------------------------------


@pytest.fixture
async def full(database: asyncpg.Connection, database_url: str) -> asyncpg.Connection:
    """A history over two months, in partitions, with statistics: nearly all of one version, a few of a rare one."""
    now = datetime.now(UTC)
    pool = Database(PersisterSettings(database_url=database_url))
    for first_day in months_from(datetime(now.year - 1, 12, 1, tzinfo=UTC), 1):
        await pool.make_partition(first_day)
    await pool.close()
    starts = [first_id_of_month(now.year - 1, 12), first_id_of_month(now.year, 1)]
    await database.execute(_FILL, [int.from_bytes(each.bytes[:6]) for each in starts])
    await database.execute("ANALYZE predictions")
    return database


_FILL = """
INSERT INTO predictions (id, model_version_id, input_data, output_data, created_at, status, completed_at, principal)
SELECT (lpad(to_hex(start + number * 1000), 12, '0') || '7000' || '8000' || lpad(to_hex(number), 12, '0'))::uuid,
    v.id, '{}', CASE WHEN number % 400 = 0 THEN NULL ELSE '{}'::jsonb END, now(),
    CASE WHEN number % 400 = 0 THEN 'failed' ELSE 'succeeded' END, now(),
    CASE WHEN number % 1000 = 1 THEN 'p_rare' ELSE 'p_many' END
FROM unnest($1::bigint[]) start CROSS JOIN generate_series(1, 6000) number
JOIN LATERAL (
    SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE m.name || v.version = CASE WHEN number % 1000 = 0 THEN 'noop1.0.0' ELSE 'echo1.0.0' END
) v ON true
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def explain(database: asyncpg.Connection, query: str, *values: object) -> list[dict[str, Any]]:
    """How the query was run: its scans of the indexes of predictions; there must be no other scan of the table."""
    text = await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values)
    plan = list(nodes(json.loads(text)[0]["Plan"]))
    whole = [each for each in plan if each["Node Type"] == "Seq Scan" and "predictions" in each["Relation Name"]]
    assert rows_read(whole) == 0, f"reads all of a partition that is not empty:\n{text}"
    return [each for each in plan if "predictions" in each.get("Index Name", "")]


async def version_ids(database: asyncpg.Connection, model: str) -> list[int]:
    """The keys of a model's versions."""
    return [row["id"] for row in await database.fetch(history._VERSIONS, model, None)]


async def parents(database: asyncpg.Connection, scans: list[dict[str, Any]]) -> set[str]:
    """The partitioned indexes of which these scans used the parts."""
    rows = await database.fetch(
        "SELECT inhparent::regclass::text AS parent FROM pg_inherits WHERE inhrelid::regclass::text = ANY($1)",
        [each["Index Name"] for each in scans],
    )
    return {row["parent"] for row in rows}


def rows_read(scans: list[dict[str, Any]]) -> float:
    """Rows that were read, those thrown away by a filter too."""
    return sum(float(each["Actual Rows"] + each.get("Rows Removed by Filter", 0)) for each in scans)


@pytest.mark.parametrize("middle", [False, True], ids=["first page", "page in the middle"])
async def test_a_page_of_everything_is_read_from_the_primary_key(full: asyncpg.Connection, middle: bool) -> None:
    before = first_id_of_month(datetime.now(UTC).year, 1) if middle else NEWEST
    scans = await explain(full, history._PAGE, before, None, 11, None, OLDEST, None)
    assert await parents(full, scans) == {"predictions_pkey"}
    assert rows_read(scans) <= 2 * 11 + 2


async def test_a_page_of_a_rare_version_is_read_from_its_index(full: asyncpg.Connection) -> None:
    (rare,) = await version_ids(full, "noop")
    scans = await explain(full, history._page_of_versions(1), NEWEST, None, 11, None, OLDEST, None, rare)
    assert await parents(full, scans) == {"predictions_by_version"}
    assert rows_read(scans) <= 2 * 11 + 2


async def test_a_page_of_a_model_reads_little_more_than_a_page_a_version(full: asyncpg.Connection) -> None:
    ids = await version_ids(full, "echo")
    assert len(ids) == 3  # one with nearly all rows, two with none
    scans = await explain(full, history._page_of_versions(3), NEWEST, None, 11, None, OLDEST, None, *ids)
    assert await parents(full, scans) <= {"predictions_by_version", "predictions_pkey"}
    assert rows_read(scans) <= 150  # of 12,000


async def test_what_went_wrong_is_read_from_the_partial_index(full: asyncpg.Connection) -> None:
    scans = await explain(full, history._PAGE, NEWEST, "failed", 11, None, OLDEST, None)
    assert await parents(full, scans) == {"predictions_unsuccessful"}
    assert rows_read(scans) <= 2 * 11 + 2


async def test_what_went_wrong_with_a_version_is_read_from_the_partial_index(full: asyncpg.Connection) -> None:
    """Without this index, the failures of all versions are read, or all rows of this one."""
    for model, reads in (("noop", 6), ("echo", 11)):  # of the rare version, all there are
        ids = await version_ids(full, model)
        scans = await explain(full, history._page_of_versions(len(ids)), NEWEST, "failed", 11, None, OLDEST, None, *ids)
        assert await parents(full, scans) == {"predictions_unsuccessful_by_version"}
        assert reads <= rows_read(scans) <= 2 * reads + 2


@pytest.mark.parametrize(("principal", "reads"), [("p_rare", 12), ("p_many", 11)])
async def test_a_page_of_a_caller_is_read_from_its_index(full: asyncpg.Connection, principal: str, reads: int) -> None:
    scans = await explain(full, history._PAGE, NEWEST, None, 11, principal, OLDEST, None)
    assert await parents(full, scans) <= {"predictions_by_principal", "predictions_pkey"}
    assert rows_read(scans) <= 2 * reads + 2


async def test_a_page_of_a_version_reads_none_of_its_copies(full: asyncpg.Connection) -> None:
    """Of a version that was only ever a shadow there may be millions, and none is shown."""
    (rare,) = await version_ids(full, "noop")
    await full.execute("UPDATE predictions SET shadow_of = id WHERE model_version_id <> $1", rare)
    await full.execute("ANALYZE predictions")
    ids = await version_ids(full, "echo")
    for status in (None, "failed"):
        scans = await explain(full, history._page_of_versions(len(ids)), NEWEST, status, 11, None, OLDEST, None, *ids)
        assert rows_read(scans) <= 11
    assert rows_read(await explain(full, history._PAGE, NEWEST, "failed", 11, None, OLDEST, None)) <= 2 * 11 + 2


async def test_a_rare_tag_is_read_from_its_index_and_a_common_one_from_the_newest(full: asyncpg.Connection) -> None:
    run = "(get_byte(uuid_send(id), 15) + 256 * get_byte(uuid_send(id), 14))::text"
    tags = f"jsonb_build_object('team', 'a', 'run', {run})"
    await full.execute(f"UPDATE predictions SET tags = {tags}")  # nosec B608 - of all: one in common, one of its own
    await full.execute("ANALYZE predictions")
    rare = await explain(full, history._PAGE, NEWEST, None, 11, None, OLDEST, '{"run": "77"}')
    assert await parents(full, rare) == {"predictions_by_tag"} and rows_read(rare) <= 2
    common = await explain(full, history._PAGE, NEWEST, None, 11, None, OLDEST, '{"team": "a"}')
    assert await parents(full, common) == {"predictions_pkey"} and rows_read(common) <= 2 * 11
    ids = await version_ids(full, "echo")
    query = history._page_of_versions(len(ids))
    of_version = await explain(full, query, NEWEST, None, 11, None, OLDEST, '{"run": "77"}', *ids)
    assert rows_read(of_version) <= 2 * len(ids)


async def test_single_predictions_are_found_by_the_primary_key(full: asyncpg.Connection) -> None:
    ids = [UUID(int=first_id_of_month(datetime.now(UTC).year, 1).int + number) for number in range(5)]
    scans = await explain(full, history._FIND, ids)
    assert await parents(full, scans) == {"predictions_pkey"}
