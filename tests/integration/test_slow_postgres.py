"""A Postgres that is too slow for a batch gets fewer rows at a time; nothing is lost, one slow row stops no other."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from shared.contract.keys import Keys
from tests.gateways import persisting
from tests.integration.test_result_stream import compute
from tests.streams import Redis
from tests.waiting import eventually

SLOW_TRIGGER = (
    "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;"
    "CREATE TRIGGER dawdle BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION dawdle()"
)


# It waits a second for a statement, and claims what is left pending soon.
IMPATIENT: dict[str, Any] = {"claim_interval_ms": 50, "visibility_timeout_ms": 1500, "database_timeout_s": 1}


async def stored(database: asyncpg.Connection) -> int:
    """How many rows there are."""
    return int(await database.fetchval("SELECT count(*) FROM predictions"))


async def test_a_batch_that_is_too_slow_is_stored_in_parts(
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await database.execute(SLOW_TRIGGER.format("PERFORM pg_sleep(0.15);"))  # all 16 need 2.4 s
    ids = await compute(redis, keys, *(f"text {number}" for number in range(16)))
    async with persisting(redis, keys, database_url, **IMPATIENT) as service:

        async def everything_is_stored() -> bool:
            return await stored(database) == len(ids) and await redis.xlen(keys.results) == 0

        await eventually(everything_is_stored, "everything is stored", 60)
        await eventually(lambda: service.unavailable is None, "it is ready")
    halved = [record.__dict__["rows"] for record in caplog.records if record.message == "batch halved"]
    assert halved[0] == 8


async def test_a_row_that_is_too_slow_by_itself_stops_no_other_and_is_not_lost(
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await database.execute(
        SLOW_TRIGGER.format("IF NEW.input_data->>'text' = 'slow' THEN PERFORM pg_sleep(60); END IF;")
    )
    await compute(redis, keys, "a", "slow", "b", "c")
    async with persisting(redis, keys, database_url, **IMPATIENT) as service:

        async def all_others_are_stored() -> bool:
            return await stored(database) == 4 and await redis.xlen(keys.results) == 1

        async def nothing_is_left() -> bool:
            return bool(await redis.xlen(keys.results) == 0)

        await compute(redis, keys, "comes later")
        await eventually(all_others_are_stored, "all others are stored", 60)
        await eventually(lambda: "not done within 1 s" in str(service.unavailable), "it says why")
        await database.execute("DROP TRIGGER dawdle ON predictions")
        await eventually(nothing_is_left, "the slow row is stored", 60)
    assert await stored(database) == 5
    assert any(each.message == "result left for later" for each in caplog.records)


async def test_a_row_that_a_trigger_refuses_stops_no_other(
    redis: Redis, keys: Keys, database_url: str, database: asyncpg.Connection
) -> None:
    refuse = "IF NEW.input_data->>'text' = 'refused' THEN RAISE EXCEPTION 'no'; END IF;"
    await database.execute(SLOW_TRIGGER.format(refuse))
    await compute(redis, keys, "a", "refused", "b")
    async with persisting(redis, keys, database_url, **IMPATIENT):

        async def others_are_stored() -> bool:
            return await stored(database) == 2 and await redis.xlen(keys.results) == 1

        await eventually(others_are_stored, "the others are stored", 60)
        await database.execute("DROP TRIGGER dawdle ON predictions")

        async def all_are_stored() -> bool:
            return await stored(database) == 3 and await redis.xlen(keys.results) == 0

        await eventually(all_are_stored, "nothing is lost", 60)
