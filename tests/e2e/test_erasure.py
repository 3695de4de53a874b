"""Erasing with real processes: one that is killed in the middle leaves the rest to another."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg

from tests.e2e.conftest import Start
from tests.waiting import eventually

ROWS = 8000
_MIDDLE = """
SELECT FROM predictions WHERE id = (SELECT id FROM predictions WHERE principal = 'p_ann' ORDER BY id OFFSET $1 LIMIT 1)
FOR UPDATE"""
_FILL = """
INSERT INTO predictions (id, model_version_id, input_data, status, principal, created_at, completed_at)
SELECT overlay(overlay(md5(n::text) placing lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') from 1)
               placing '7' from 13)::uuid,
       (SELECT min(id) FROM model_versions), '{"text": "row"}', 'expired',
       CASE WHEN n % 4 = 0 THEN 'p_bob' ELSE 'p_ann' END, t, t
FROM generate_series(1, $1) n CROSS JOIN LATERAL (SELECT now() - n * interval '1 second' AS t) times"""


async def test_one_that_is_killed_in_the_middle_is_finished_by_another(
    start: Start, database: asyncpg.Connection
) -> None:
    settings: dict[str, Any] = {"VISIBILITY_TIMEOUT_MS": "1000", "CLAIM_INTERVAL_MS": "500"}
    gateway, killed = start("gateway"), start("persister", **settings)
    await database.execute(_FILL, ROWS)
    middle = database.transaction()  # it gets no further than to this row
    await middle.start()
    await database.execute(_MIDDLE, ROWS // 2)
    async with aiohttp.ClientSession(gateway.url) as session:
        async with session.delete("/api/v1/predictions?principal=p_ann") as answer:
            assert answer.status == 202
            erasure_id = (await answer.json())["erasure_id"]

        async def told() -> Any:
            async with session.get(f"/api/v1/erasures/{erasure_id}") as answer:
                return await answer.json()

        async def has_begun() -> bool:
            return bool((await told())["predictions"])

        async def is_done() -> bool:
            return str((await told())["state"]) == "done"

        await eventually(has_begun, "some rows are deleted")
        killed.kill()
        assert (await told())["state"] == "running"
        await middle.rollback()
        start("persister", **settings)
        await eventually(is_done, "another has finished it", timeout_s=60)
        assert (await told())["predictions"] == ROWS * 3 // 4, "each row is counted once"
    counted = await database.fetch("SELECT principal, count(*) AS count FROM predictions GROUP BY 1")
    assert [tuple(each) for each in counted] == [("p_bob", ROWS // 4)]
