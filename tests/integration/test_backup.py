"""Backup and restore as docs/DEPLOYMENT.md has them: Postgres with its partitions, Redis hot and cold, and both."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis

from migrations.__main__ import run as run_migrations
from migrations.apply import DIRECTORY, Address, migrate, migration_lock, roll_back
from migrations.settings import MigrateSettings
from persister.batch_writer import BatchWriter, decoded
from persister.database import Database
from persister.partitions import months_from
from persister.settings import PersisterSettings
from scripts.stack.postgres import PostgresServer, running_postgres
from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.service.settings import Settings
from shared.streams.redis_client import connect
from shared.streams.result_stream import ResultStream
from tests import streams
from tests.access import running_redis, shard_of
from tests.conftest import FIXTURES
from tests.gateways import make_persister
from tests.waiting import eventually

KEYS = Keys("millstream:")
PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), (SELECT count(*) FROM predictions WHERE tableoid = c.oid)
FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'predictions'::regclass ORDER BY 1"""
INDEXES = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'predictions%'"
COUNT = "SELECT count(*) FROM predictions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("backup") / "pg") as running:
        settings = MigrateSettings(database_url=SecretStr(running.url), model_catalogue=FIXTURES / "models.toml")
        run_migrations(settings, 0)
        yield running


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def tool(server: PostgresServer, name: str, *arguments: str) -> None:
    """One of Postgres's own programs."""
    program = server.program(name)
    found = str(program) if program.exists() else name
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def dump(server: PostgresServer, path: Path) -> None:
    tool(server, "pg_dump", server.url, "--format=custom", f"--file={path}")


def restore(server: PostgresServer, path: Path) -> str:
    """Into a new database; the answer is its address."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    base = server.url.rsplit("/", 1)[0]
    tool(server, "psql", f"{base}/postgres", "--command", f"CREATE DATABASE {name}")
    tool(server, "pg_restore", "--exit-on-error", "--no-acl", f"--dbname={base}/{name}", str(path))
    return f"{base}/{name}"


async def predict(redis_url: str, count: int, *, finish: bool = True) -> None:
    """Accept requests, and finish them."""
    redis = connect(Settings(redis_url=SecretStr(redis_url)))
    requests = streams.stream(redis, KEYS, "worker")
    await requests.join()
    await streams.publish(redis, KEYS, *map(str, range(count)))
    if finish:
        read = await requests.read(count, 0)
        await requests.complete([streams.finished(each) for each in read.deliveries])
    await redis.aclose()


async def persist(redis_url: str, database_url: str) -> None:
    """Run a persister until nothing is left in Redis."""
    settings = PersisterSettings(
        redis_url=SecretStr(redis_url), database_url=SecretStr(database_url), model_catalogue=FIXTURES / "models.toml"
    )
    redis, database = connect(settings), Database(settings)
    stream = ResultStream(shard_of("persister", redis, KEYS), f"persister-{uuid.uuid4().hex}")
    liveness = Liveness(30)
    await make_persister(settings, redis, KEYS, database).make_partitions(datetime.now(UTC))
    writer = BatchWriter(stream, database, liveness)
    await stream.join()
    while entries := [*await stream.read(500, 0), *await stream.claim(0, 500)]:
        await writer.write(await decoded(entries))
    await database.close()
    await redis.aclose()


@contextmanager
def copied(folder: Path, tmp_path: Path, **settings: str) -> Iterator[RedisServer]:
    """A second Redis over a copy of the first one's folder."""
    copy = tmp_path / f"copy-{uuid.uuid4().hex[:8]}"
    shutil.copytree(folder, copy)
    with running_redis(copy, settings=settings) as server:
        yield server


def content(url: str) -> dict[str, Any]:
    """What is in a Redis: the streams with their pending entries, and how many states."""
    with Redis.from_url(url, decode_responses=True) as client:
        requests = KEYS.requests(streams.MODEL, streams.VERSION)
        return {
            "requests": client.xrange(requests),
            "pending": client.xpending(requests, KEYS.WORKER_GROUP)["pending"],
            "results": client.xrange(KEYS.results),
            "states": sorted(client.scan_iter(f"{KEYS.prefix}prediction:*")),
        }


async def test_postgres_is_restored_with_its_partitions(server: PostgresServer, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        await predict(redis.url, 30)
        await persist(redis.url, server.url)
        dump(server, tmp_path / "millstream.dump")
        restored = restore(server, tmp_path / "millstream.dump")
        assert rows(restored, PARTITIONS) == rows(server.url, PARTITIONS)
        assert len(rows(restored, PARTITIONS)) >= 4 and rows(restored, COUNT) == [(30,)]
        assert rows(restored, INDEXES) == rows(server.url, INDEXES)

        # and it is lived in: the migrate step finds nothing to do, the persister makes the next month and stores on
        with migration_lock(Address(restored)):
            assert migrate(Address(restored)) == []
        await predict(redis.url, 5)
        await persist(redis.url, restored)
        assert rows(restored, COUNT) == [(35,)]
        database = Database(PersisterSettings(database_url=SecretStr(restored)))
        for first_day in months_from(datetime.now(UTC) + timedelta(days=150), 0):
            await database.make_partition(first_day)
        await database.close()
        with migration_lock(Address(restored)):
            all_but_the_first = len(list(DIRECTORY.glob("*.rollback.sql"))) - 1
            assert roll_back(Address(restored), all_but_the_first)[-1] == "0002_predictions"


async def test_redis_is_restored_from_a_copy_taken_while_it_is_stopped(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        await predict(redis.url, 5)
        await predict(redis.url, 3, finish=False)
        before = content(redis.url)
        redis.stop()
        with copied(redis.directory, tmp_path) as copy:
            assert content(copy.url) == before
            assert len(before["requests"]) == 3 and len(before["results"]) == 5 and len(before["states"]) == 8


async def test_redis_is_restored_from_a_copy_of_its_file_taken_while_it_runs(tmp_path: Path) -> None:
    """The append-only file may be cut anywhere: what was acknowledged before the copy began is in it."""
    with running_redis(tmp_path / "redis", appendfsync="always") as redis:
        with Redis.from_url(redis.url) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)
            await predict(redis.url, 5)
            client.bgrewriteaof()
            await eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, "it is rewritten")
            await predict(redis.url, 3, finish=False)
            before = content(redis.url)
            with copied(redis.directory, tmp_path) as copy:
                assert content(copy.url) == before


async def test_a_snapshot_is_restored_with_the_append_only_file_off_first(tmp_path: Path) -> None:
    """With it on, Redis looks for that file alone, and starts empty beside a good snapshot."""
    with running_redis(tmp_path / "redis") as redis:
        await predict(redis.url, 5)
        before = content(redis.url)
        with Redis.from_url(redis.url) as client:
            client.save()
        snapshot = tmp_path / "snapshot"
        snapshot.mkdir()
        shutil.copy(redis.directory / "dump.rdb", snapshot)
    with copied(snapshot, tmp_path) as wrong, Redis.from_url(wrong.url) as client:
        assert client.dbsize() == 0
    with running_redis(snapshot, settings={"appendonly": "no"}) as right:
        assert content(right.url) == before
        with Redis.from_url(right.url) as client:
            client.config_set("appendonly", "yes")
            await eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, "the file is made")
            await eventually(lambda: client.info("persistence")["aof_rewrite_scheduled"] == 0, "the file is made")
    with running_redis(snapshot) as again:
        assert content(again.url) == before


@pytest.mark.parametrize(("redis_first", "left"), [(True, 8), (False, 5)])
async def test_redis_is_backed_up_before_postgres(tmp_path: Path, redis_first: bool, left: int) -> None:
    """What is stored between the two copies is in both, and kept once; the other way round it is in neither."""
    with running_redis(tmp_path / "redis", appendfsync="always") as redis, running_postgres(tmp_path / "pg") as server:
        settings = MigrateSettings(database_url=SecretStr(server.url), model_catalogue=FIXTURES / "models.toml")
        run_migrations(settings, 0)
        await predict(redis.url, 5)
        await persist(redis.url, server.url)
        await predict(redis.url, 3)  # in Redis, when the first copy is taken
        if redis_first:
            shutil.copytree(redis.directory, tmp_path / "backup")
        else:
            dump(server, tmp_path / "millstream.dump")
        await persist(redis.url, server.url)  # and in Postgres, when the second one is
        if redis_first:
            dump(server, tmp_path / "millstream.dump")
        else:
            shutil.copytree(redis.directory, tmp_path / "backup")
        restored = restore(server, tmp_path / "millstream.dump")
        with copied(tmp_path / "backup", tmp_path) as copy:
            await persist(copy.url, restored)
            assert rows(restored, COUNT) == [(left,)]
            assert content(copy.url)["states"] == []
