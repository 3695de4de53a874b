"""Retention: rows of a model go when they are old enough, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

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


@pytest.mark.parametrize("days", ["0", "36501", "0.5"])
def test_a_retention_that_makes_no_sense_is_refused(days: str) -> None:
    version = '[[models.versions]]\nversion = "1"\nartifact = "a"\ndefault = true\n'
    model = f'[[models]]\nname = "m"\ntask = "text-classification"\ndescription = "d"\nretention_days = {days}\n'
    with pytest.raises(ConfigurationError, match="retention_days"):
        parse_catalogue(model + version)
