"""What keeping predictions costs: `python -m tests.load.rows`. Rows a second into a real Postgres, bytes a row, and how
long a month takes to go.

The rows go through the persister's own statement, 500 at a time, into a partition that it made, with fsync on. Half of
them belong to an earlier month, so that there is one to drop.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from migrations.__main__ import run as migrate
from migrations.settings import MigrateSettings
from persister.database import Database
from persister.partitions import months_from
from persister.rows import Row
from persister.settings import PersisterSettings
from scripts.stack.postgres import running_postgres
from shared.contract.ids import uuid7
from tests.load.cpu import cpu_seconds
from tests.processes import REPOSITORY

BATCH = 500
TEXT = "This product is great and I love it very much, thanks a lot"
SIZES = """
SELECT c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid), c.reltuples::bigint FROM pg_class c
JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'predictions'::regclass AND c.reltuples > 0 ORDER BY 1"""


def rows(count: int, now: datetime) -> Iterator[list[Row]]:
    """Batches of rows as a sentiment model makes them: first those of the month before last, then this month's."""
    earlier = (now.year, now.month - 2) if now.month > 2 else (now.year - 1, now.month + 10)
    for number in range(0, count, BATCH):
        month = datetime(*earlier, 2, tzinfo=UTC) if number < count / 2 else now
        yield [_row(int(month.timestamp() * 1000) + number + n, month) for n in range(BATCH)]


def _row(at_ms: int, month: datetime) -> Row:
    score = random.random()
    return Row(
        id=uuid7(at_ms, random.getrandbits(80)),
        model="noop",
        version="1.0.0",
        input_data=f'{{"text":"{TEXT}"}}',
        output_data=f'{{"label":"POSITIVE","scores":{{"POSITIVE":{score:.6f},"NEGATIVE":{1 - score:.6f}}}}}',
        confidence=round(score, 6),
        processing_time_ms=12,
        created_at=month,
        status="succeeded",
        error=None,
        attempt=0,
        principal="",
        queue_time_ms=3,
        cached=False,
        tokens=5,
        compute_us=1000,
        input_bytes=100,
        completed_at=month,
    )


async def insert(settings: PersisterSettings, count: int) -> tuple[float, float]:
    """Insert the rows; the answer is how long it took, and this process's CPU seconds."""
    now = datetime.now(UTC)
    database = Database(settings)
    try:
        for month in (datetime(now.year, now.month, 1, tzinfo=UTC), *_earlier(now)):
            for first_day in months_from(month, 0):
                await database.make_partition(first_day)
        batches = list(rows(count, now))
        started, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            await database.insert(batch)
        return time.perf_counter() - started, time.process_time() - cpu
    finally:
        await database.close()


def _earlier(now: datetime) -> Iterator[datetime]:
    year, month = (now.year, now.month - 2) if now.month > 2 else (now.year - 1, now.month + 10)
    yield datetime(year, month, 1, tzinfo=UTC)


async def report(url: str) -> None:
    """Print what the partitions take, and how long dropping the older one does."""
    connection = await asyncpg.connect(url)
    await connection.execute("ANALYZE predictions")
    sizes = await connection.fetch(SIZES)
    for name, table, indexes, count in sizes:
        print(
            f"{name}: {count} rows, {(table + indexes) / count:.0f} bytes a row "
            f"({table / count:.0f} in the table, {indexes / count:.0f} in its indexes)"
        )
    written = await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
    oldest = sizes[0][0]
    started = time.perf_counter()
    await connection.execute(f"DROP TABLE {oldest}")
    took_ms = (time.perf_counter() - started) * 1000
    freed = await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn") - written
    print(f"DROP TABLE {oldest}: {took_ms:.0f} ms, {freed / 1024:.0f} kB of write-ahead log")
    await connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="how many (default: 100000)")
    count = parser.parse_args().rows
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres(Path(folder) / "postgres", durable=True) as server,
    ):
        catalogue = REPOSITORY / "tests/fixtures/models.toml"
        migrate(MigrateSettings(database_url=SecretStr(server.url), model_catalogue=catalogue), 0)
        settings = PersisterSettings(database_url=SecretStr(server.url))
        assert server.process is not None
        before = cpu_seconds(server.process.pid)
        took, cpu = asyncio.run(insert(settings, count))
        used = cpu_seconds(server.process.pid) - before
        million = 1e6 / count
        print(f"{count} rows in {took:.2f} s: {count / took:.0f} rows/s, {BATCH} a statement, one connection, fsync on")
        print(f"CPU seconds a million rows: Postgres {used * million:.1f}, client {cpu * million:.1f}")
        asyncio.run(report(server.url))


if __name__ == "__main__":
    main()
