"""Drift measured from what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from persister import drift
from persister.database import Database
from persister.drift import DriftWatch
from persister.settings import PersisterSettings
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.streams.drift_board import DriftBoard
from tests.access import environment_of, shard_of
from tests.gateways import store
from tests.integration.test_postgres_trouble import row
from tests.waiting import eventually


@pytest.fixture
async def stored(environment: dict[str, str]) -> AsyncIterator[Database]:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    made = Database(PersisterSettings(**values))
    yield made
    await made.close()


@pytest.fixture
def board(redis: Redis, keys: Keys) -> DriftBoard:
    return DriftBoard(shard_of("persister", redis, keys))


ECHO = ("echo", "1.0.0")


def gauge(signal: str) -> float | None:
    labels = {"model": "echo", "version": "1.0.0", "signal": signal}
    return REGISTRY.get_sample_value("millstream_drift_psi", labels)


async def test_a_check_that_comes_meanwhile_stops_nothing(environment: dict[str, str]) -> None:
    """It looks the ids of versions up anew, while others wait for the connection that it has."""
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    alone = Database(PersisterSettings(**values, database_pool_size=1))
    await alone.insert([row()])
    measuring = alone.distribution("echo", "1.0.0", 100, newest=True)
    _, measured, _ = await asyncio.gather(alone.check(), measuring, alone.insert([row()]))
    assert measured.confidence.total() >= 1
    await alone.close()


async def test_a_shift_of_labels_shows_and_a_steady_version_does_not(
    stored: Database, board: DriftBoard, database: asyncpg.Connection, redis: Redis, keys: Keys
) -> None:
    watch = DriftWatch(stored, board, window=100, interval_s=60, liveness=Liveness(30))
    assert await watch.measure(ECHO) == {}
    await store(database, 100, "echo", "1.0.0", since_ms=1_800_000_000_000)
    assert await watch.measure(ECHO) == {"confidence": 0, "label": 0}
    await store(database, 100, "echo", "1.0.0", since_ms=1_800_000_100_000)
    assert await watch.measure(ECHO) == {"confidence": 0, "label": 0}
    await database.execute(
        'UPDATE predictions SET output_data = \'{"label": "BAD"}\' WHERE id IN '
        "(SELECT id FROM predictions ORDER BY id DESC LIMIT 50)"
    )
    found = await watch.measure(ECHO)
    assert found["label"] > 0.25 and found["confidence"] == 0
    assert gauge("label") == found["label"]
    told = await DriftBoard(shard_of("gateway", redis, keys)).read(["echo:1.0.0", "echo:2.0.0"])
    assert {label: orjson.loads(each) for label, each in told.items()} == {"echo:1.0.0": found}
    assert 3000 < await redis.ttl(keys.drift("echo:1.0.0")) <= 3600
    await store(database, 500, "echo", "1.0.0", status="failed", since_ms=1_800_000_200_000)
    assert await watch.measure(ECHO) == found  # failures say nothing about answers


async def test_registered_versions_are_watched_while_they_are_active_and_at_most_so_many(
    stored: Database, board: DriftBoard, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = DriftWatch(stored, board, window=10, interval_s=60, liveness=Liveness(30))
    registered = (
        "INSERT INTO model_versions (model_id, version, artifact_path, is_active) SELECT id, '7.0.0', 'x', false"
    )
    await database.execute(f"{registered} FROM models WHERE name = 'echo'")
    await store(database, 10, "echo", "7.0.0", since_ms=1_800_000_000_000)
    active = "UPDATE model_versions SET is_active = $1 WHERE version = '7.0.0'"
    series = {"model": "echo", "version": "7.0.0", "signal": "label"}
    seen = []
    for is_active in (False, True, False):
        await database.execute(active, is_active)
        await watch.measure_all()
        seen.append(REGISTRY.get_sample_value("millstream_drift_psi", series))
    assert seen == [None, 0, None]
    assert ("echo", "7.0.0") not in watch._references
    await database.execute(active, True)
    assert await stored.active_versions(1) == [("echo", "7.0.0")], "the newest"
    monkeypatch.setattr(drift, "MOST_VERSIONS", 0)
    await watch.measure_all()
    assert REGISTRY.get_sample_value("millstream_drift_psi", series) is None


async def test_the_first_and_the_newest_successes_are_counted_by_tenth_and_by_label(
    stored: Database, database: asyncpg.Connection
) -> None:
    values = [(None, "A"), (0.0, "B"), (0.05, "B"), (0.1, "A"), (0.95, None), (1.0, "A")]
    for second, (confidence, label) in enumerate(values):
        (prediction_id,) = await store(database, 1, "echo", "1.0.0", since_ms=1_800_000_000_000 + 1000 * second)
        output = orjson.dumps({} if label is None else {"label": label}).decode()
        changed = "UPDATE predictions SET confidence = $2, output_data = $3 WHERE id = $1"
        await database.execute(changed, prediction_id, confidence, output)
    await store(database, 1, "echo", "1.0.0", status="failed", since_ms=1_900_000_000_000)
    await store(database, 1, "echo", "2.0.0", since_ms=1_900_000_000_000)
    first = await stored.distribution("echo", "1.0.0", 3, newest=False)
    assert first == ({0: 1, 1: 2}, {"A": 1, "B": 2})
    newest = await stored.distribution("echo", "1.0.0", 3, newest=True)
    assert newest == ({2: 1, 10: 2}, {"A": 2, "": 1})


async def test_it_goes_on_where_postgres_is_away(
    stored: Database, board: DriftBoard, database: asyncpg.Connection
) -> None:
    await store(database, 100, "echo", "1.0.0", since_ms=1_800_000_000_000)
    await database.execute("ALTER TABLE predictions RENAME TO hidden")
    watch = DriftWatch(stored, board, window=100, interval_s=0.02, liveness=Liveness(30))
    stop = asyncio.Event()
    running = asyncio.create_task(watch.run(stop))
    errors = {"component": "persister", "kind": "drift"}
    await eventually(lambda: (REGISTRY.get_sample_value("millstream_errors_total", errors) or 0) > 0, "it fails")
    await database.execute("ALTER TABLE hidden RENAME TO predictions")
    await eventually(lambda: ECHO in watch._references, "it measures again")
    stop.set()
    await asyncio.wait_for(running, 20)
