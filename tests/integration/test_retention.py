"""Retention: rows of a model go when they are old enough, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from persister import erasure_store
from persister.database import Database
from persister.erasure_store import ErasureStore
from persister.retention import Retention
from persister.settings import PersisterSettings
from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError
from shared.service.liveness import Liveness
from tests.access import database_url_of
from tests.integration.test_erasures import insert

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
OLD, FRESH = NOW - timedelta(days=7, seconds=1), NOW - timedelta(days=7) + timedelta(seconds=1)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[ErasureStore]:
    database = Database(PersisterSettings(database_url=database_url_of("persister", database_url)))
    yield ErasureStore(database.postgres, timedelta(seconds=60))
    await database.close()


def keeping(catalogue: Catalogue, days: int | None) -> Catalogue:
    """The catalogue, with a retention for `echo`."""
    models = [
        each.model_copy(update={"retention_days": days}) if each.name == "echo" else each for each in catalogue.models
    ]
    return catalogue.model_copy(update={"models": tuple(models)})


async def left(database: asyncpg.Connection) -> list[str]:
    return [each["principal"] for each in await database.fetch("SELECT principal FROM predictions ORDER BY 1")]


async def fill(database: asyncpg.Connection) -> None:
    (original,) = await insert(database, 1, "old", OLD)
    await insert(database, 4, "old", OLD)
    await insert(database, 1, "old copy", OLD, shadow_of=original)
    await insert(database, 2, "fresh", FRESH)
    await insert(database, 1, "fresh copy", FRESH, shadow_of=original)
    await insert(database, 1, "other", OLD, model="noop")


async def test_what_is_too_old_goes_and_nothing_else(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_store, "BATCH", 2)
    await fill(database)
    retention = Retention(store, keeping(catalogue, 7).models, Liveness(30))
    assert await retention.delete(NOW, asyncio.Event()) == 6
    assert await left(database) == ["fresh", "fresh", "fresh copy", "other"]
    assert await retention.delete(NOW, asyncio.Event()) == 0


async def test_without_a_retention_everything_stays(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    await fill(database)
    for days in (None, 8):
        assert await Retention(store, keeping(catalogue, days).models, Liveness(30)).delete(NOW, asyncio.Event()) == 0


async def test_a_stop_comes_between_two_batches(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    await fill(database)
    stop = asyncio.Event()
    stop.set()
    assert await Retention(store, keeping(catalogue, 7).models, Liveness(30)).delete(NOW, stop) == 0


async def test_two_persisters_at_once_are_not_in_each_others_way(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_store, "BATCH", 3)
    await insert(database, 30, "old", OLD)
    both = [Retention(store, keeping(catalogue, 7).models, Liveness(30)) for _ in range(2)]
    await asyncio.gather(*(each.delete(NOW, asyncio.Event()) for each in both))
    assert await left(database) == []


AFTER = datetime(2026, 2, 8, tzinfo=UTC)  # January is over for a model that is kept for a week
JANUARY, LATE = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@pytest.fixture
async def january(database: asyncpg.Connection) -> AsyncIterator[str]:
    name = "predictions_2026_01"
    await database.execute("SELECT make_predictions_partition('2026-01-01')")
    yield name
    await database.execute(f"DROP TABLE IF EXISTS {name}")


async def partitions(database: asyncpg.Connection) -> set[str]:
    found = await database.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass"
    )
    return {each[0] for each in found}


async def turn(store: ErasureStore, catalogue: Catalogue, now: datetime) -> int:
    return await Retention(store, keeping(catalogue, 7).models, Liveness(30)).delete(now, asyncio.Event())


async def test_a_month_that_no_model_keeps_is_dropped_with_its_feedback(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, january: str
) -> None:
    ids = await insert(database, 3, "old", JANUARY)
    (copy,) = await insert(database, 1, "old copy", LATE, shadow_of=ids[0])
    (fresh,) = await insert(database, 1, "fresh", datetime(2026, 2, 7, tzinfo=UTC))
    for each in (ids[0], copy, fresh):
        await database.execute("INSERT INTO feedback (prediction_id, correct) VALUES ($1, true)", each)
    assert await turn(store, catalogue, AFTER - timedelta(seconds=1)) == 3, "its last second is still kept"
    assert january in await partitions(database)
    await insert(database, 2, "old", JANUARY)
    assert await turn(store, catalogue, AFTER) == 0, "no row was deleted by itself"
    assert january not in await partitions(database)
    assert await left(database) == ["fresh"]
    assert [each[0] for each in await database.fetch("SELECT prediction_id FROM feedback")] == [fresh]


@pytest.mark.parametrize("shadow", [False, True])
async def test_a_month_with_a_row_of_a_model_that_is_kept_stays(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, january: str, shadow: bool
) -> None:
    (old,) = await insert(database, 1, "old", JANUARY)
    await insert(database, 1, "kept", JANUARY, model="noop", shadow_of=old if shadow else None)
    assert await turn(store, catalogue, AFTER) == 1
    assert january in await partitions(database) and await left(database) == ["kept"]


async def test_without_a_retention_no_month_is_dropped(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, january: str
) -> None:
    assert await Retention(store, keeping(catalogue, None).models, Liveness(30)).delete(AFTER, asyncio.Event()) == 0
    assert january in await partitions(database)


async def test_a_month_that_is_used_is_not_waited_for(
    store: ErasureStore, database: asyncpg.Connection, catalogue: Catalogue, january: str
) -> None:
    """Whoever reads goes on, and rows go one by one meanwhile."""
    await insert(database, 2, "old", JANUARY)
    async with database.transaction():
        await database.fetch("SELECT FROM predictions")
        assert await turn(store, catalogue, AFTER) == 2
    assert january in await partitions(database)
    assert await turn(store, catalogue, AFTER) == 0
    assert january not in await partitions(database)


async def test_a_row_that_comes_meanwhile_is_not_lost(
    store: ErasureStore, database: asyncpg.Connection, database_url: str, catalogue: Catalogue, january: str
) -> None:
    """One of a model that is kept, not yet committed when the month is looked at."""
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await insert(other, 1, "kept", JANUARY, model="noop")
    dropping = asyncio.create_task(turn(store, catalogue, AFTER))
    await asyncio.sleep(0.1)
    await transaction.commit()
    await other.close()
    await dropping
    assert january in await partitions(database) and await left(database) == ["kept"]


async def test_a_month_that_is_not_over_or_none_is_not_dropped(
    store: ErasureStore, database: asyncpg.Connection, january: str
) -> None:
    versions = [each["id"] for each in await database.fetch("SELECT id FROM model_versions")]
    before = await partitions(database)
    this_month = datetime.now(UTC).date().replace(day=1)
    for month in (this_month, date(2026, 1, 2), date(2025, 1, 1), date(1, 1, 1)):
        assert not await store.drop_month(month, versions)
    assert await partitions(database) == before


@pytest.mark.parametrize("days", ["0", "36501", "0.5"])
def test_a_retention_that_makes_no_sense_is_refused(days: str) -> None:
    version = '[[models.versions]]\nversion = "1"\nartifact = "a"\ndefault = true\n'
    model = f'[[models]]\nname = "m"\ntask = "text-classification"\ndescription = "d"\nretention_days = {days}\n'
    with pytest.raises(ConfigurationError, match="retention_days"):
        parse_catalogue(model + version)
